"""The denoising U-Net (section 3.2): noisy image, anatomy and position in, estimate of the noise out.

The first convolution is the sum of one over the image and one over the conditions. The second does not depend on t,
so whoever samples computes it once per window (`encode_condition`) and reuses it at every step.
"""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from meddiff.anatomy.labels import LABEL_COUNT
from meddiff.config import MODEL_REGIONS, NetworkConfig
from meddiff.model.blocks import (
    Downsample,
    FromImage,
    NormSiLU,
    ResidualBlock,
    SpatialTransformer,
    ToImage,
    Upsample,
    time_features,
    zero_initialised,
)
from meddiff.model.fused import embed, join
from meddiff.model.lines import convolve_lines
from meddiff.store.position import position_channels, position_embedding


class Level(nn.Module):
    """The residual blocks of one resolution, each followed by a spatial transformer where there is one."""

    def __init__(self, channels_in: list[int], channels_out: int, config: NetworkConfig, attend: bool) -> None:
        super().__init__()
        embedding = 4 * config.channels
        self.blocks = nn.ModuleList(ResidualBlock(c, channels_out, embedding, config.norm_groups) for c in channels_in)
        self.transformers = nn.ModuleList(
            SpatialTransformer(channels_out, embedding, config.attention_heads, config.norm_groups)
            if attend
            else nn.Identity()
            for _ in channels_in
        )


class Encoded(NamedTuple):
    """What the way down leaves: the middle `h`, the skips in their order, and the embeddings that all blocks see."""

    h: Tensor
    skips: list[Tensor]
    embedding: Tensor
    context: Tensor


class Encoder(nn.Module):
    """The first convolution, the way down and the middle: what a U-Net and a ControlNet have in common.

    Args:
        config: sizes; every side of the input must be a multiple of `config.divisor`.

    Set `activation_checkpointing` to trade a third more time of a training step for a fraction of its memory.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        channels, embedding, groups = config.channels, 4 * config.channels, config.norm_groups
        self.anatomy = nn.Embedding(LABEL_COUNT, config.anatomy_channels)
        self.region = nn.Embedding(len(MODEL_REGIONS), embedding)
        self.time = nn.Sequential(nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.conv_image = FromImage(channels)
        condition_channels = config.anatomy_channels + position_channels(config)
        self.conv_condition = nn.Conv3d(condition_channels, channels, 3, padding=1, bias=False)

        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        self.skip_widths, width = [channels], channels
        for depth, next_width in enumerate(config.widths):
            inputs = [width] + [next_width] * (config.blocks_per_level - 1)
            self.down.append(Level(inputs, next_width, config, depth in config.attention_levels))
            self.skip_widths += [next_width] * config.blocks_per_level
            width = next_width
            if depth < len(config.widths) - 1:
                self.downsample.append(Downsample(width))
                self.skip_widths.append(width)

        self.middle1 = ResidualBlock(width, width, embedding, groups)
        self.middle_transformer = SpatialTransformer(width, embedding, config.attention_heads, groups)
        self.middle2 = ResidualBlock(width, width, embedding, groups)

    @property
    def dtype(self) -> torch.dtype:
        return self.conv_image.weight.dtype

    def encode_condition(
        self, anatomy_BZYX: Tensor, coordinates_B3ZYX: Tensor, target_BCZYX: Tensor | None = None
    ) -> Tensor:
        """Return the conditions' part of the first convolution, shape (B, channels, Z, Y, X).

        A target condition is for networks that are controlled.

        Args:
            anatomy_BZYX: label ids 0 to 118 (c_a).
            coordinates_B3ZYX: p_c of the patch's voxels, in the order x, y, z; each varies along its own axis alone.
            target_BCZYX: none.

        Raises:
            ValueError: there is a target condition, which this network does not know.
        """
        if target_BCZYX is not None:
            raise ValueError("this network takes no target condition; it needs a ControlNet")
        embedded = embed(anatomy_BZYX, self.anatomy.weight)
        of_anatomy, of_position = self.conv_condition.weight.tensor_split([self.config.anatomy_channels], dim=1)
        convolved = F.conv3d(embedded, of_anatomy, padding=1)
        if self.config.position == "none":
            return convolved
        x, y, z = coordinates_B3ZYX[:, :1, 0, 0], coordinates_B3ZYX[:, 1:2, 0, :, 0], coordinates_B3ZYX[:, 2:, :, 0, 0]
        kernels_xyz = of_position.unflatten(1, (-1, 3)).unbind(2)
        lines_zyx = [self._position(line) for line in (z, y, x)]
        return convolved + convolve_lines(lines_zyx, kernels_xyz[::-1], convolved.dtype)

    def _position(self, coordinates: Tensor) -> Tensor:
        """Return how the network sees the position along one axis, (B, channels, voxels)."""
        if self.config.position == "coordinates":
            return coordinates
        return position_embedding(coordinates, self.config.position_frequencies)

    def encode(self, x_BCZYX: Tensor, t_B: Tensor, region_B: Tensor, condition_BCZYX: Tensor) -> Encoded:
        """Return what the way down leaves for the way up; the arguments are those of `UNet.forward`.

        Raises:
            ValueError: a side of the input is not a multiple of `config.divisor`.
        """
        if any(side % self.config.divisor for side in x_BCZYX.shape[2:]):
            raise ValueError(f"sides {tuple(x_BCZYX.shape[2:])} must be multiples of {self.config.divisor}")
        region = self.region(region_B)
        embedding = self.time(time_features(t_B, self.config.channels).to(self.dtype)) + region
        context = region[:, None]

        h = self.conv_image(x_BCZYX, condition_BCZYX)
        skips = [h]
        for depth, level in enumerate(cast("list[Level]", self.down)):
            for block, transformer in zip(level.blocks, level.transformers, strict=True):
                h = self._block(block, transformer, h, embedding, context)
                skips.append(h)
            if depth < len(self.downsample):
                h = self.downsample[depth](h)
                skips.append(h)

        h = self._run(self.middle1, h, embedding)
        h = self._run(self.middle2, self._run(self.middle_transformer, h, context), embedding)
        return Encoded(h, skips, embedding, context)

    def _block(self, block: nn.Module, transformer: nn.Module, h: Tensor, embedding: Tensor, context: Tensor) -> Tensor:
        h = self._run(block, h, embedding)
        return self._run(transformer, h, context) if isinstance(transformer, SpatialTransformer) else h

    def _run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """Call a module; with activation checkpointing, its inner activations are computed anew for the backward."""
        if self.activation_checkpointing and torch.is_grad_enabled():
            return cast("Tensor", checkpoint(module, *inputs, use_reentrant=False, preserve_rng_state=False))
        return module(*inputs)


class UNet(Encoder):
    """The network of Eq. 1: an encoder, and the way up.

    Args:
        config: sizes; every side of the input must be a multiple of `config.divisor`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        skips, width = list(self.skip_widths), config.widths[-1]
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for depth in reversed(range(len(config.widths))):
            inputs = []
            for _ in range(config.blocks_per_level + 1):
                inputs.append(width + skips.pop())
                width = config.widths[depth]
            self.up.append(Level(inputs, width, config, depth in config.attention_levels))
            if depth:
                self.upsample.append(Upsample(width))

        self.norm_out = NormSiLU(config.norm_groups, config.channels)
        self.conv_out = zero_initialised(ToImage(config.channels))

    def forward(self, x_BCZYX: Tensor, t_B: Tensor, region_B: Tensor, condition_BCZYX: Tensor) -> Tensor:
        """Return the network's estimate, shape (B, 1, Z, Y, X).

        Args:
            x_BCZYX: noisy images, one channel.
            t_B: timesteps, 0 to T - 1.
            region_B: index of the region in `MODEL_REGIONS` (c_r).
            condition_BCZYX: what `encode_condition` returned.

        Raises:
            ValueError: a side of the input is not a multiple of `config.divisor`.
        """
        return self.decode(self.encode(x_BCZYX, t_B, region_B, condition_BCZYX))

    def decode(self, encoded: Encoded) -> Tensor:
        """Return the estimate from what the way down left."""
        h, skips, embedding, context = encoded.h, list(encoded.skips), encoded.embedding, encoded.context
        for depth, level in enumerate(cast("list[Level]", self.up)):
            enter = self.upsample[depth - 1] if depth else join
            for number, (block, transformer) in enumerate(zip(level.blocks, level.transformers, strict=True)):
                joined = join(h, skips.pop()) if number else enter(h, skips.pop())
                h = self._block(block, transformer, joined, embedding, context)
        return self.conv_out(self.norm_out(h))
