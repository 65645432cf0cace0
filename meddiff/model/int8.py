"""The convolutions of the residual blocks in integers of eight bits, for inference on a CPU.

A CPU with AVX512-VNNI or AMX multiplies such integers at twice the rate of bfloat16, and these convolutions are most of
a pass. Weights are rounded by output channel. The steps of activations follow from the weights of the norm before
them, so that nothing has to be calibrated and an estimate does not depend on what else is in its batch.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.model.blocks import ResidualBlock
from meddiff.model.fused import NormSiLU

TOP = 255
ZERO = 12  # the level of zero; those below it are for SiLU's negative values
LEAST = 0.2785  # SiLU is nowhere below minus this
WIDEST = 12.0  # spreads of what a norm has normalised; what lies beyond is cut off [Choice: seen in drawings]
SLAB_VOXELS = 2**19  # that stay in the processor's cache from the first operation on them to the last
NO_ZEROS = torch.zeros(0, dtype=torch.int64)  # those of weights lie at 0
ONES = [1, 1, 1]


class Convolution8(nn.Module):
    """A 3^3 convolution of what comes from a norm and SiLU, without its bias; bfloat16 in and out.

    Args:
        convolution: its weights.
        norm: what comes before it.
    """

    def __init__(self, convolution: nn.Conv3d, norm: NormSiLU) -> None:
        super().__init__()
        widest = F.silu(norm.weight.detach().float().abs() * WIDEST + norm.bias.detach().float()).max()
        self.step = max(float(widest) / (TOP - ZERO), LEAST / ZERO)
        weight = convolution.weight.detach().float()
        self.steps_C = weight.abs().amax((1, 2, 3, 4)).clamp(min=torch.finfo().tiny) / 127
        rounded = (weight / self.steps_C[:, None, None, None, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qconv_prepack(rounded, self.steps_C, self.step, ZERO, ONES, ONES, ONES, 1)

    def forward(self, h_BCZYX: Tensor) -> Tensor:
        weights = self.weight, self.steps_C, NO_ZEROS, None
        result = 1.0, 0, torch.bfloat16, "none", [], ""
        return torch.ops.onednn.qconv3d_pointwise(
            self.levels(h_BCZYX), self.step, ZERO, *weights, ONES, ONES, ONES, 1, *result
        )

    def levels(self, h_BCZYX: Tensor) -> Tensor:
        """Return the levels of activations, uint8."""
        h_BCZYX = h_BCZYX.contiguous(memory_format=torch.channels_last_3d)
        levels, zero = torch.empty_like(h_BCZYX, dtype=torch.uint8), h_BCZYX.new_tensor(ZERO)
        for slab, out in zip(_slabs(h_BCZYX), _slabs(levels), strict=True):
            out.copy_(torch.add(zero, slab, alpha=1 / self.step).round_().clamp_(0, TOP))
        return levels


class ResidualBlock8(nn.Module):
    """A residual block with its two 3^3 convolutions in integers."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.norm1, self.time, self.norm2, self.skip = block.norm1, block.time, block.norm2, block.skip
        self.conv1, self.conv2 = Convolution8(block.conv1, block.norm1), Convolution8(block.conv2, block.norm2)
        self.bias1, self.bias2 = (cast("Tensor", conv.bias) for conv in (block.conv1, block.conv2))

    def forward(self, h_BCZYX: Tensor, embedding_BE: Tensor) -> Tensor:
        h = self.norm2(self.conv1(self.norm1(h_BCZYX)), self.bias1 + self.time(F.silu(embedding_BE)))
        h = self.conv2(h)
        h += self.bias2[:, None, None, None]
        h += self.skip(h_BCZYX)
        return h


def in_integers(network: nn.Module) -> None:
    """Change the residual blocks of a network in bfloat16 to those of integers."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, ResidualBlock):
                setattr(module, name, ResidualBlock8(child))


def _slabs(x_BCZYX: Tensor) -> tuple[Tensor, ...]:
    """Return parts of a channels-last volume, as vectors."""
    return x_BCZYX.permute(0, 2, 3, 4, 1).view(-1).split(SLAB_VOXELS)
