"""Group norm with SiLU on a GPU, as Triton kernels over channels-last volumes.

torch's own group norm on a GPU works channels first, so that in a channels-last network every norm would be wrapped
into two copies of the volume, and the SiLU reads and writes it once more. Here the forward pass reads it twice and
writes it once, and a shift of the channels costs nothing. A volume is seen as (B, voxels, C), its rows lie one after
the other. Statistics are added up in a fixed order, so the same input gives the same bits.
"""

# Arguments of kernels are pointers and numbers that Triton knows, and its decorator tells no types.
# ruff: noqa: ANN001, ANN201, ANN202
# pyright: reportIndexIssue=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 4096  # elements that a program works on at a time
PROGRAMS = 1056  # that share the rows of a sample: eight for each processor of a large GPU


@triton.jit
def tile_of_rows(number, rows, share, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Return offsets and mask of one tile of a program's rows."""
    row = tl.program_id(0) * share + number * TILE_ROWS + tl.arange(0, TILE_ROWS)
    last = tl.minimum((tl.program_id(0) + 1) * share, rows)
    channel = tl.arange(0, WIDTH)
    mask = (row < last)[:, None] & (channel < CHANNELS)[None, :]
    start = tl.program_id(1).to(tl.int64) * rows * CHANNELS
    return start + row.to(tl.int64)[:, None] * CHANNELS + channel[None, :], mask


@triton.jit
def _of_channels(pointer, CHANNELS: tl.constexpr, WIDTH: tl.constexpr):
    """Return a sample's values of all channels, shape (1, WIDTH)."""
    channel = tl.arange(0, WIDTH)
    return tl.load(pointer + tl.program_id(1) * CHANNELS + channel, mask=channel < CHANNELS, other=0.0)[None, :]


@triton.jit
def _silu_gradient(x, gradient, scale, offset):
    """Return the gradient of silu(x scale + offset) with regard to what is inside."""
    affine = x * scale + offset
    gate = 1 / (1 + tl.exp(-affine))
    return gradient * gate * (1 + affine * (1 - gate))


@triton.jit
def _write_partial(partial, first, second, CHANNELS: tl.constexpr, WIDTH: tl.constexpr):
    """Write the two sums of a program over the rows of its tiles, partial (B, programs, 2, C)."""
    channel = tl.arange(0, WIDTH)
    place = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * 2 * CHANNELS + channel
    tl.store(partial + place, tl.sum(first, 0), mask=channel < CHANNELS)
    tl.store(partial + place + CHANNELS, tl.sum(second, 0), mask=channel < CHANNELS)


@triton.jit
def sum_kernel(x, partial, rows, share, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Sums of x and x^2 of each channel over a program's rows."""
    total = tl.zeros((TILE_ROWS, WIDTH), tl.float32)
    squares = tl.zeros((TILE_ROWS, WIDTH), tl.float32)
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        total += value
        squares += value * value
    _write_partial(partial, total, squares, CHANNELS, WIDTH)


@triton.jit
def _gradient_sum_kernel(
    x, gradient, scale, offset, partial, rows, share,
    CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Sums of d and d x of each channel over a program's rows, where d is the gradient inside of the SiLU."""
    total = tl.zeros((TILE_ROWS, WIDTH), tl.float32)
    products = tl.zeros((TILE_ROWS, WIDTH), tl.float32)
    scales, offsets = _of_channels(scale, CHANNELS, WIDTH), _of_channels(offset, CHANNELS, WIDTH)
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        outer = tl.load(gradient + place, mask=mask, other=0.0).to(tl.float32)
        inner = _silu_gradient(value, outer, scales, offsets)
        total += inner
        products += inner * value
    _write_partial(partial, total, products, CHANNELS, WIDTH)


@triton.jit
def _apply_kernel(
    x, out, scale, offset, rows, share, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    scales, offsets = _of_channels(scale, CHANNELS, WIDTH), _of_channels(offset, CHANNELS, WIDTH)
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        affine = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) * scales + offsets
        tl.store(out + place, affine / (1 + tl.exp(-affine)), mask=mask)


@triton.jit
def _gradient_kernel(
    x, gradient, out, scale, offset, slope, constant, rows, share,
    CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    scales, offsets = _of_channels(scale, CHANNELS, WIDTH), _of_channels(offset, CHANNELS, WIDTH)
    slopes, constants = _of_channels(slope, CHANNELS, WIDTH), _of_channels(constant, CHANNELS, WIDTH)
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        outer = tl.load(gradient + place, mask=mask, other=0.0).to(tl.float32)
        inner = _silu_gradient(value, outer, scales, offsets)
        tl.store(out + place, inner * scales + value * slopes + constants, mask=mask)


@triton.jit
def _channels_of_group(PER_GROUP: tl.constexpr, SPAN: tl.constexpr):
    """Return the group's channels, and which of the span are of the group; program ids are (group, sample)."""
    member = tl.arange(0, SPAN)
    return tl.program_id(0) * PER_GROUP + member, member < PER_GROUP


@triton.jit
def _add_partials(
    partial, programs, CHANNELS: tl.constexpr, PER_GROUP: tl.constexpr, SPAN: tl.constexpr, STRIDE: tl.constexpr
):
    """Return both sums of a group's channels over all programs, float64, in a fixed order."""
    channel, is_member = _channels_of_group(PER_GROUP, SPAN)
    first = tl.zeros((SPAN,), tl.float64)
    second = tl.zeros((SPAN,), tl.float64)
    for begin in range(0, programs, STRIDE):
        program = begin + tl.arange(0, STRIDE)
        place = ((tl.program_id(1) * programs + program) * 2 * CHANNELS)[:, None] + channel[None, :]
        mask = (program < programs)[:, None] & is_member[None, :]
        first += tl.sum(tl.load(partial + place, mask=mask, other=0.0).to(tl.float64), 0)
        second += tl.sum(tl.load(partial + place + CHANNELS, mask=mask, other=0.0).to(tl.float64), 0)
    return first, second


@triton.jit
def _statistics_kernel(
    partial, shift, weight, bias, scale, offset, total, mean, rstd, programs, rows, eps,
    CHANNELS: tl.constexpr, PER_GROUP: tl.constexpr, SPAN: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """From the sums of x, scale and offset of silu(x scale + offset), the norm of x + shift; one group of a sample."""
    channel, is_member = _channels_of_group(PER_GROUP, SPAN)
    place = tl.program_id(1) * CHANNELS + channel
    sums, squares = _add_partials(partial, programs, CHANNELS, PER_GROUP, SPAN, STRIDE)
    tl.store(total + place, sums, mask=is_member)
    moved = tl.load(shift + place, mask=is_member, other=0.0).to(tl.float64)
    squares += 2 * moved * sums + rows * moved * moved
    sums += rows * moved
    count = rows.to(tl.float64) * PER_GROUP
    centre = tl.sum(sums, 0) / count
    spread = 1 / tl.sqrt(tl.maximum(tl.sum(squares, 0) / count - centre * centre, 0.0) + eps)
    scales = spread * tl.load(weight + channel, mask=is_member, other=0.0)
    tl.store(scale + place, scales, mask=is_member)
    offsets = (moved - centre) * scales + tl.load(bias + channel, mask=is_member, other=0.0)
    tl.store(offset + place, offsets, mask=is_member)
    tl.store(mean + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), centre)
    tl.store(rstd + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), spread)


@triton.jit
def _gradient_statistics_kernel(
    partial, shift, weight, scale, total, mean, rstd, slope, constant, d_shift, d_weight, d_bias, programs, rows,
    CHANNELS: tl.constexpr, PER_GROUP: tl.constexpr, SPAN: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """From the sums of d and d x, what the gradient of x is made of and those of shift, weight and bias."""
    channel, is_member = _channels_of_group(PER_GROUP, SPAN)
    place = tl.program_id(1) * CHANNELS + channel
    sums, products = _add_partials(partial, programs, CHANNELS, PER_GROUP, SPAN, STRIDE)
    centre = tl.load(mean + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)).to(tl.float64)
    spread = tl.load(rstd + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)).to(tl.float64)
    moved = tl.load(shift + place, mask=is_member, other=0.0).to(tl.float64) - centre
    with_normed = spread * (products + moved * sums)
    weights = tl.load(weight + channel, mask=is_member, other=0.0).to(tl.float64)
    count = rows.to(tl.float64) * PER_GROUP
    mean_gradient = tl.sum(weights * sums, 0) / count
    slopes = -spread * spread * tl.sum(weights * with_normed, 0) / count
    constants = slopes * moved - spread * mean_gradient
    whole = tl.load(total + place, mask=is_member, other=0.0).to(tl.float64)
    scales = tl.load(scale + place, mask=is_member, other=0.0).to(tl.float64)
    tl.store(slope + place, slopes + tl.zeros_like(sums), mask=is_member)
    tl.store(constant + place, constants, mask=is_member)
    tl.store(d_shift + place, scales * sums + slopes * whole + rows * constants, mask=is_member)
    tl.store(d_weight + place, with_normed, mask=is_member)
    tl.store(d_bias + place, sums, mask=is_member)


class NormSiLU(torch.autograd.Function):
    """SiLU of the group norm of `h_BCZYX` + `shift_BC`; of the forward pass only its input and sums are kept."""

    @staticmethod
    def forward(
        ctx: Any, h_BCZYX: Tensor, shift_BC: Tensor, weight_C: Tensor, bias_C: Tensor, groups: int, eps: float
    ) -> Tensor:
        h = h_BCZYX.contiguous(memory_format=torch.channels_last_3d)
        grid = Grid(h, groups)
        partial, scale, offset, total = grid.partial(), *(grid.of_channels() for _ in range(3))
        mean, rstd = (torch.empty((h.shape[0], groups), device=h.device) for _ in range(2))
        sum_kernel[grid.tiles](h, partial, *grid.arguments, **grid.shape)
        _statistics_kernel[grid.groups](
            partial, shift_BC, weight_C, bias_C, scale, offset, total, mean, rstd, grid.programs, grid.rows, eps,
            **grid.group_shape,
        )  # fmt: skip
        out = torch.empty_like(h)
        _apply_kernel[grid.tiles](h, out, scale, offset, *grid.arguments, **grid.shape)
        ctx.save_for_backward(h, shift_BC, weight_C, scale, offset, total, mean, rstd)
        ctx.grid = grid
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients_BCZYX: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        h, shift_BC, weight_C, scale, offset, total, mean, rstd = ctx.saved_tensors
        grid: Grid = ctx.grid
        gradient = gradients_BCZYX[0].contiguous(memory_format=torch.channels_last_3d)
        partial = grid.partial()
        _gradient_sum_kernel[grid.tiles](h, gradient, scale, offset, partial, *grid.arguments, **grid.shape)
        slope, constant, d_shift, d_weight, d_bias = (grid.of_channels() for _ in range(5))
        _gradient_statistics_kernel[grid.groups](
            partial, shift_BC, weight_C, scale, total, mean, rstd, slope, constant, d_shift, d_weight, d_bias,
            grid.programs, grid.rows, **grid.group_shape,
        )  # fmt: skip
        out = torch.empty_like(h)
        _gradient_kernel[grid.tiles](h, gradient, out, scale, offset, slope, constant, *grid.arguments, **grid.shape)
        return out, d_shift.to(shift_BC.dtype), d_weight.sum(0), d_bias.sum(0), None, None


class Grid:
    """How the work on one volume is dealt out, with tiles of `least` rows and columns at least."""

    def __init__(self, h_BCZYX: Tensor, groups: int, least: int = 1, tile: int | None = None) -> None:
        self._batch, self._channels = h_BCZYX.shape[:2]
        self._device = h_BCZYX.device
        self.rows = h_BCZYX[0, 0].numel()
        width = max(least, triton.next_power_of_2(self._channels))
        tile_rows = max(least, (tile or TILE) // width)
        self.programs = min(PROGRAMS, triton.cdiv(self.rows, tile_rows))
        share = triton.cdiv(self.rows, self.programs)
        per_group = self._channels // groups
        self.tiles, self.groups = (self.programs, self._batch), (groups, self._batch)
        self.arguments = (self.rows, share)
        self.shape = {"CHANNELS": self._channels, "TILE_ROWS": tile_rows, "WIDTH": width}
        span = triton.next_power_of_2(per_group)
        self.group_shape = {"CHANNELS": self._channels, "PER_GROUP": per_group, "SPAN": span, "STRIDE": 128}

    def partial(self, sums: int = 2) -> Tensor:
        return torch.empty((self._batch, self.programs, sums, self._channels), device=self._device)

    def of_channels(self) -> Tensor:
        return torch.empty((self._batch, self._channels), device=self._device)
