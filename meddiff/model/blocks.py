"""The building blocks of the U-Net: residual block, spatial transformer, resampling."""

import math
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.model.fused import (
    NormSiLU,
    convolve_and_add,
    features_to_image,
    image_to_features,
    upsample_and_join,
)

Layer = TypeVar("Layer", bound=nn.Module)
# Row k: which of the three taps of a kernel fall on one voxel at place k of the transposed kernel of four.
UPSAMPLED_TAPS = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def time_features(t_B: Tensor, size: int) -> Tensor:
    """Return the sinusoidal features of a timestep, shape (B, size), as in the Transformer."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(size // 2, device=t_B.device) / (size // 2))
    angles = t_B[:, None].float() * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=1)


def zero_initialised(module: Layer) -> Layer:
    """Return the module with all parameters zero, so that it starts as no contribution."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResidualBlock(nn.Module):
    """Norm, activation, convolution; plus the time embedding; norm, activation, convolution; plus the input."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm1 = NormSiLU(groups, channels_in)
        self.conv1 = nn.Conv3d(channels_in, channels_out, 3, padding=1)
        self.time = nn.Linear(embedding, channels_out)
        self.norm2 = NormSiLU(groups, channels_out)
        self.conv2 = zero_initialised(nn.Conv3d(channels_out, channels_out, 3, padding=1))
        self.skip = nn.Conv3d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, h_BCZYX: Tensor, embedding_BE: Tensor) -> Tensor:
        # Biases wait for the next pass over the volume, which is made in any case.
        h = F.conv3d(self.norm1(h_BCZYX), self.conv1.weight, padding=1)
        h = self.norm2(h, _bias(self.conv1) + self.time(F.silu(embedding_BE)))
        if isinstance(self.skip, nn.Identity):
            return convolve_and_add(h, self.conv2.weight, _bias(self.conv2), h_BCZYX)
        skip = F.conv3d(h_BCZYX, self.skip.weight)
        return convolve_and_add(h, self.conv2.weight, _bias(self.conv2) + _bias(self.skip), skip)


def _bias(layer: nn.Module) -> Tensor:
    return cast("Tensor", layer.bias)


class Attention(nn.Module):
    """Multi-head attention from the tokens to themselves or to a context."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(context, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens_BNC: Tensor, context_BMD: Tensor) -> Tensor:
        query, (key, value) = self.query(tokens_BNC), self.key_value(context_BMD).chunk(2, dim=-1)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class SpatialTransformer(nn.Module):
    """Self-attention, cross-attention to the region embedding and a feed-forward layer, over all voxels."""

    def __init__(self, channels: int, context: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.norm_self, self.norm_cross, self.norm_feed = (nn.LayerNorm(channels) for _ in range(3))
        self.attend_self = Attention(channels, channels, heads)
        self.attend_cross = Attention(channels, context, heads)
        self.feed = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.out = zero_initialised(nn.Linear(channels, channels))

    def forward(self, h_BCZYX: Tensor, context_BMD: Tensor) -> Tensor:
        tokens = self.norm(h_BCZYX).flatten(2).transpose(1, 2)
        normed = self.norm_self(tokens)
        tokens = tokens + self.attend_self(normed, normed)
        tokens = tokens + self.attend_cross(self.norm_cross(tokens), context_BMD)
        tokens = tokens + self.feed(self.norm_feed(tokens))
        return h_BCZYX + self.out(tokens).transpose(1, 2).unflatten(2, h_BCZYX.shape[2:])


class FromImage(nn.Conv3d):
    """The first convolution, from one channel to many."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, 3, padding=1)

    def forward(self, input: Tensor, more_BCZYX: Tensor) -> Tensor:  # type: ignore[override]
        """Return the convolution, plus `more_BCZYX`."""
        return image_to_features(input, self.weight, _bias(self), more_BCZYX)


class ToImage(nn.Conv3d):
    """The last convolution, from many channels to one."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        return features_to_image(input, self.weight, _bias(self))


class Downsample(nn.Conv3d):
    """Half the size, by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)


class Upsample(nn.Module):
    """Twice the size: nearest neighbour, then a convolution, computed as one transposed convolution; joins a skip.

    After nearest-neighbour upsampling, neighbouring taps of the kernel see the same voxel; adding those taps first
    leaves 8 of 27 multiplications for each output.
    """

    taps: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)
        taps = torch.tensor(UPSAMPLED_TAPS)
        self.register_buffer("taps", torch.kron(taps, torch.kron(taps, taps)), persistent=False)

    def forward(self, h_BCZYX: Tensor, skip_BCZYX: Tensor) -> Tensor:
        weight = self.conv.weight.permute(1, 2, 3, 4, 0).flatten(1, 3)
        kernel = torch.matmul(self.taps, weight).unflatten(1, (4, 4, 4)).permute(0, 4, 1, 2, 3)
        return upsample_and_join(h_BCZYX, kernel, _bias(self.conv), skip_BCZYX)


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
