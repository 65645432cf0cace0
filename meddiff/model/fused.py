"""Layers of the U-Net that are computed together, so that a large volume is read and written less often.

On a GPU they are those of `kernels`, `kernels_join` and `kernels_image`, if these can be compiled; elsewhere, and there
without them, they are made of torch's own operators.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from meddiff.model.kernels_check import kernels_work


class NormSiLU(nn.GroupNorm):
    """Group norm, then SiLU; its backward pass takes half the memory of the two layers, and less time."""

    def forward(self, input: Tensor, shift_BC: Tensor | None = None) -> Tensor:
        """Return silu(norm(input + shift_BC)); an input that is given with a shift must not be used afterwards."""
        settings = self.weight, self.bias, self.num_groups, self.eps
        if _has_kernels(input):
            from meddiff.model import kernels

            shift = shift_BC if shift_BC is not None else input.new_zeros(input.shape[:2])
            return kernels.NormSiLU.apply(input, shift, *settings)
        if shift_BC is not None:
            input += shift_BC.to(input.dtype)[:, :, None, None, None]
        if input.is_cuda:  # whose group norm knows no channels-last volumes
            return F.silu(F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps))
        return _NormSiLU.apply(input, *settings)


def join(first_BCZYX: Tensor, second_BCZYX: Tensor) -> Tensor:
    """Return a volume with the channels of both."""
    if _has_kernels(first_BCZYX) and first_BCZYX.dtype == second_BCZYX.dtype:
        from meddiff.model.kernels_join import Join

        return Join.apply(first_BCZYX, second_BCZYX, None)
    return torch.cat((first_BCZYX, second_BCZYX), dim=1)


def upsample_and_join(h_BCZYX: Tensor, kernel: Tensor, bias_C: Tensor, skip_BCZYX: Tensor) -> Tensor:
    """Return the transposed convolution to twice the size, plus bias, joined with the channels of the skip."""
    if _has_kernels(h_BCZYX):
        from meddiff.model.kernels_join import Join

        upsampled = F.conv_transpose3d(h_BCZYX, kernel, stride=2, padding=1)
        return Join.apply(upsampled, skip_BCZYX.to(upsampled.dtype), bias_C)
    return torch.cat((F.conv_transpose3d(h_BCZYX, kernel, bias_C, stride=2, padding=1), skip_BCZYX), dim=1)


def convolve_and_add(h_BCZYX: Tensor, weight: Tensor, bias_C: Tensor, skip_BCZYX: Tensor) -> Tensor:
    """Return the 3^3 convolution of `h_BCZYX`, plus bias, plus `skip_BCZYX`."""
    if _has_kernels(h_BCZYX):
        from meddiff.model.kernels_join import AddWithBias

        return AddWithBias.apply(F.conv3d(h_BCZYX, weight, padding=1), skip_BCZYX, bias_C)
    h = F.conv3d(h_BCZYX, weight, bias_C, padding=1)
    h += skip_BCZYX
    return h


def image_to_features(image_B1ZYX: Tensor, weight: Tensor, bias_C: Tensor, more_BCZYX: Tensor) -> Tensor:
    """Return the 3^3 convolution of an image, plus bias, plus `more_BCZYX`."""
    if _has_kernels(more_BCZYX):
        from meddiff.model.kernels_image import ImageToFeatures

        return ImageToFeatures.apply(image_B1ZYX, weight, bias_C, more_BCZYX)
    return more_BCZYX + F.conv3d(image_B1ZYX.to(weight.dtype), weight, bias_C, padding=1)


def features_to_image(h_BCZYX: Tensor, weight: Tensor, bias_1: Tensor) -> Tensor:
    """Return the 3^3 convolution of `h_BCZYX` to one channel, plus bias."""
    if _has_kernels(h_BCZYX):
        from meddiff.model.kernels_image import FeaturesToImage

        return FeaturesToImage.apply(h_BCZYX, weight, bias_1)
    return F.conv3d(h_BCZYX, weight, bias_1, padding=1)


def embed(label_BZYX: Tensor, table_LC: Tensor) -> Tensor:
    """Return the embedding of each voxel's label, (B, C, Z, Y, X), channels last, in the precision of convolutions."""
    if _has_kernels(table_LC):
        from meddiff.model.kernels_image import Embed

        kind = table_LC.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else table_LC.dtype
        return Embed.apply(label_BZYX, table_LC, dtype)
    embedded = F.embedding(label_BZYX.int(), table_LC).movedim(-1, 1)
    return embedded.contiguous(memory_format=torch.channels_last_3d)


def _has_kernels(h_BCZYX: Tensor) -> bool:
    return h_BCZYX.is_cuda and h_BCZYX.dtype != torch.float64 and kernels_work(h_BCZYX.device)


class _NormSiLU(torch.autograd.Function):
    """SiLU of the group norm of `h_BCZYX`; of the forward pass only its input and the statistics are kept."""

    @staticmethod
    def forward(ctx: Any, h_BCZYX: Tensor, weight_C: Tensor, bias_C: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels, voxels = h_BCZYX.shape[0], h_BCZYX.shape[1], h_BCZYX[0, 0].numel()
        affine = weight_C.to(h_BCZYX.dtype), bias_C.to(h_BCZYX.dtype)
        normed, mean_BG, rstd_BG = torch.native_group_norm(h_BCZYX, *affine, batch, channels, voxels, groups, eps)
        ctx.save_for_backward(h_BCZYX, weight_C, bias_C, mean_BG, rstd_BG)
        return F.silu(normed, inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients_BCZYX: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        h_BCZYX, weight_C, bias_C, mean_BG, rstd_BG = ctx.saved_tensors
        per_group = weight_C.numel() // mean_BG.shape[1]
        precise = torch.promote_types(h_BCZYX.dtype, torch.float32)

        def spread(x_BC: Tensor) -> Tensor:
            return x_BC.to(h_BCZYX.dtype)[:, :, None, None, None]

        def group_mean(x_BC: Tensor) -> Tensor:
            sums_BG = x_BC.to(precise).unflatten(1, (-1, per_group)).sum(2)
            return (sums_BG / (per_group * h_BCZYX[0, 0].numel())).repeat_interleave(per_group, 1)

        mean, rstd = (x_BG.to(precise).repeat_interleave(per_group, 1) for x_BG in (mean_BG, rstd_BG))
        normed = torch.addcmul(spread(-mean * rstd), h_BCZYX, spread(rstd))
        affine = torch.addcmul(spread(bias_C[None]), normed, spread(weight_C[None]))
        d_affine = torch.ops.aten.silu_backward(gradients_BCZYX[0], affine)
        d_bias, d_weight = d_affine.sum((2, 3, 4)), torch.mul(d_affine, normed, out=affine).sum((2, 3, 4))
        offset, slope = -rstd * group_mean(weight_C * d_bias), -rstd * group_mean(weight_C * d_weight)
        d_h = torch.addcmul(spread(offset), normed, spread(slope), out=normed)
        d_h.addcmul_(d_affine, spread(rstd * weight_C))
        return d_h, d_weight.sum(0), d_bias.sum(0), None, None
