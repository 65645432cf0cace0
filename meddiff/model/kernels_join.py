"""Additions and joins of channels-last volumes on a GPU, as Triton kernels that read and write every voxel once."""

# Arguments of kernels are pointers and numbers that Triton knows, and its decorator tells no types.
# ruff: noqa: ANN001, ANN202
# pyright: reportIndexIssue=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from meddiff.model.kernels import Grid, sum_kernel, tile_of_rows


@triton.jit
def _add_kernel(h, skip, bias, rows, share, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr):
    channel = tl.arange(0, WIDTH)
    biases = tl.load(bias + channel, mask=channel < CHANNELS, other=0.0).to(tl.float32)[None, :]
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        value = tl.load(h + place, mask=mask, other=0.0).to(tl.float32)
        value += tl.load(skip + place, mask=mask, other=0.0).to(tl.float32)
        tl.store(h + place, value + biases, mask=mask)


class AddWithBias(torch.autograd.Function):
    """`h_BCZYX` + `skip_BCZYX` + `bias_C`, in place of `h_BCZYX`."""

    @staticmethod
    def forward(ctx: Any, h_BCZYX: Tensor, skip_BCZYX: Tensor, bias_C: Tensor) -> Tensor:
        h = h_BCZYX.contiguous(memory_format=torch.channels_last_3d)
        skip = skip_BCZYX.contiguous(memory_format=torch.channels_last_3d)
        grid = Grid(h, 1)
        _add_kernel[grid.tiles](h, skip, bias_C, *grid.arguments, **grid.shape)
        if h is h_BCZYX:
            ctx.mark_dirty(h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients_BCZYX: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradient = gradients_BCZYX[0].contiguous(memory_format=torch.channels_last_3d)
        grid = Grid(gradient, 1)
        partial = grid.partial()
        sum_kernel[grid.tiles](gradient, partial, *grid.arguments, **grid.shape)
        return gradient, gradient, partial[:, :, 0].sum((0, 1))


@triton.jit
def _join_kernel(
    first, second, bias, out, rows, share,
    FIRST: tl.constexpr, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    channel = tl.arange(0, WIDTH)[None, :]
    is_first = channel < FIRST
    biases = tl.load(bias + channel, mask=is_first, other=0.0).to(tl.float32)
    begin = tl.program_id(1).to(tl.int64) * rows
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        row = (begin + tl.program_id(0) * share + number * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]
        one = tl.load(first + row * FIRST + channel, mask=mask & is_first, other=0.0).to(tl.float32) + biases
        other = tl.load(second + row * (CHANNELS - FIRST) + channel - FIRST, mask=mask & ~is_first, other=0.0)
        tl.store(out + place, tl.where(is_first, one, other.to(tl.float32)), mask=mask)


@triton.jit
def _split_kernel(
    joined, first, second, partial, rows, share,
    FIRST: tl.constexpr, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The two parts, and the sums of the first one's channels over a program's rows, partial (B, programs, FIRST)."""
    channel = tl.arange(0, WIDTH)
    is_first = channel < FIRST
    total = tl.zeros((TILE_ROWS, WIDTH), tl.float32)
    begin = tl.program_id(1).to(tl.int64) * rows
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        row = (begin + tl.program_id(0) * share + number * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]
        value = tl.load(joined + place, mask=mask, other=0.0)
        total += value.to(tl.float32)
        tl.store(first + row * FIRST + channel[None, :], value, mask=mask & is_first[None, :])
        to_second = second + row * (CHANNELS - FIRST) + channel[None, :] - FIRST
        tl.store(to_second, value, mask=mask & ~is_first[None, :])
    start = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * FIRST
    tl.store(partial + start + channel, tl.sum(total, 0), mask=is_first)


class Join(torch.autograd.Function):
    """The channels of two volumes, one after the other, `bias_C` added to the first; torch's way is half as fast."""

    @staticmethod
    def forward(ctx: Any, first_BCZYX: Tensor, second_BCZYX: Tensor, bias_C: Tensor | None) -> Tensor:
        first, second = (x.contiguous(memory_format=torch.channels_last_3d) for x in (first_BCZYX, second_BCZYX))
        ctx.sizes, ctx.has_bias = (first.shape[1], second.shape[1]), bias_C is not None
        out = _empty(first, sum(ctx.sizes))
        grid = Grid(out, 1)
        bias = first.new_zeros(first.shape[1]) if bias_C is None else bias_C
        _join_kernel[grid.tiles](first, second, bias, out, *grid.arguments, FIRST=ctx.sizes[0], **grid.shape)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients_BCZYX: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradient = gradients_BCZYX[0].contiguous(memory_format=torch.channels_last_3d)
        first, second = (_empty(gradient, channels) for channels in ctx.sizes)
        grid = Grid(gradient, 1)
        partial = gradient.new_empty((len(gradient), grid.programs, ctx.sizes[0]), dtype=torch.float32)
        _split_kernel[grid.tiles](gradient, first, second, partial, *grid.arguments, FIRST=ctx.sizes[0], **grid.shape)
        return first, second, partial.sum((0, 1)) if ctx.has_bias else None


def _empty(like_BCZYX: Tensor, channels: int) -> Tensor:
    shape = (like_BCZYX.shape[0], channels, *like_BCZYX.shape[2:])
    return torch.empty(shape, dtype=like_BCZYX.dtype, device=like_BCZYX.device, memory_format=torch.channels_last_3d)
