"""Layers of the U-Net that are computed together, so that a large volume is read and written less often.

On a GPU they are those of `kernels` and `kernels_join`, if these can be compiled; elsewhere, and there without them,
they are made of torch's own operators.
"""

import logging
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

log = logging.getLogger(__name__)


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

        return Join.apply(first_BCZYX, second_BCZYX)
    return torch.cat((first_BCZYX, second_BCZYX), dim=1)


def convolve_and_add(h_BCZYX: Tensor, weight: Tensor, bias_C: Tensor, skip_BCZYX: Tensor) -> Tensor:
    """Return the 3^3 convolution of `h_BCZYX`, plus bias, plus `skip_BCZYX`."""
    if _has_kernels(h_BCZYX):
        from meddiff.model.kernels_join import AddWithBias

        return AddWithBias.apply(F.conv3d(h_BCZYX, weight, padding=1), skip_BCZYX, bias_C)
    h = F.conv3d(h_BCZYX, weight, bias_C, padding=1)
    h += skip_BCZYX
    return h


def _has_kernels(h_BCZYX: Tensor) -> bool:
    return h_BCZYX.is_cuda and h_BCZYX.dtype != torch.float64 and _kernels_work(h_BCZYX.device)


@cache
def _kernels_work(device: torch.device) -> bool:
    """Return whether Triton is there and can compile for this GPU; for that it needs a C compiler."""
    try:
        from meddiff.model import kernels

        h_BCZYX = torch.ones(1, 2, 2, 2, 2, device=device)
        kernels.NormSiLU.apply(h_BCZYX, h_BCZYX[:, :, 0, 0, 0], *h_BCZYX.new_ones(2, 2), 1, 1.0)
    except Exception as error:  # of any of the tools that Triton calls
        log.info("no fused kernels on this GPU (%s: %s); plain layers instead", type(error).__name__, error)
        return False
    return True


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
