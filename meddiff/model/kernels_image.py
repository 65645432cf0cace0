"""What stands between volumes of one channel and those of many on a GPU, as Triton kernels.

The U-Net begins and ends with a convolution whose one side is the image, and with an embedding of the anatomy. These
are no work for matrix units, so that libraries take longer over them than a copy of the larger volume takes; here they
take about as long as that. Sums over voxels are added up in a fixed order: the same input gives the same bits.

A tap is one of the 27 places of a kernel of 3^3, in the order z, y, x. What voxels see at the taps is gathered into a
matrix, with a row of ones for the bias, so that a matrix product does the rest. Sums are float32.
"""

# Arguments of kernels are pointers and numbers that Triton knows, and its decorator tells no types.
# ruff: noqa: ANN001, ANN202
# pyright: reportIndexIssue=false

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from meddiff.model.kernels import Grid, tile_of_rows

TAP_COUNT, PLACES = 27, 32  # of a kernel, and rows of the matrix: one for the bias, the others see nothing
TAPS = tl.constexpr(TAP_COUNT)
LEAST = 16  # rows and columns of a matrix product
SMALL_TILE = 1024  # elements of a tile that needs many registers for each of them


@triton.jit
def _neighbour(row, tap, rows, Z, Y, X):
    """Return the row of a voxel's neighbour at a tap, and whether there is one."""
    z, y, x = row // (Y * X) + tap // 9 - 1, (row // X) % Y + (tap // 3) % 3 - 1, row % X + tap % 3 - 1
    inside = (z >= 0) & (z < Z) & (y >= 0) & (y < Y) & (x >= 0) & (x < X) & (row < rows)
    return (z * Y + y) * X + x, inside


@triton.jit
def _rows_of(number, share, TILE_ROWS: tl.constexpr):
    return tl.program_id(0) * share + number * TILE_ROWS + tl.arange(0, TILE_ROWS)


@triton.jit
def _seen(image, row, rows, Z, Y, X, PLACES: tl.constexpr):
    """Return what voxels see at each tap, (PLACES, voxels), float32; the place after the last tap sees one."""
    place = tl.arange(0, PLACES)[:, None]
    near, inside = _neighbour(row[None, :], place, rows, Z, Y, X)
    start = image + tl.program_id(1).to(tl.int64) * rows
    value = tl.load(start + near, mask=inside & (place < TAPS), other=0.0).to(tl.float32)
    return tl.where(place == TAPS, 1.0, value)


@triton.jit
def _spread_kernel(
    image, weight, more, out, rows, share, Z, Y, X,
    HAS_MORE: tl.constexpr, PRECISION: tl.constexpr,
    PLACES: tl.constexpr, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """From one channel to many: out[v, c] = sum over places of seen[place, v] weight[place, c] (+ more[v, c])."""
    place_of_weight, channel = tl.arange(0, PLACES)[:, None], tl.arange(0, WIDTH)[None, :]
    is_weight = (place_of_weight <= TAPS) & (channel < CHANNELS)
    weights = tl.load(weight + place_of_weight * CHANNELS + channel, mask=is_weight, other=0.0)
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        seen = _seen(image, _rows_of(number, share, TILE_ROWS), rows, Z, Y, X, PLACES)
        total = tl.dot(tl.trans(seen), weights, input_precision=PRECISION)
        if HAS_MORE:
            total += tl.load(more + place, mask=mask, other=0.0).to(tl.float32)
        tl.store(out + place, total, mask=mask)


@triton.jit
def _collect_kernel(
    image, features, partial, rows, share, Z, Y, X,
    PLACES: tl.constexpr, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """A program's part of sum over v of seen[place, v] features[v, c], partial (B, programs, PLACES, C)."""
    total = tl.zeros((PLACES, WIDTH), tl.float32)
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        value = tl.load(features + place, mask=mask, other=0.0)
        seen = _seen(image, _rows_of(number, share, TILE_ROWS), rows, Z, Y, X, PLACES)
        total += tl.dot(seen.to(value.dtype), value, input_precision="ieee")
    _write_partial(partial, total, PLACES, CHANNELS, WIDTH)


@triton.jit
def _write_partial(partial, total, ROWS: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr):
    """Write a program's sums, partial (B, programs, ROWS, C)."""
    row, channel = tl.arange(0, ROWS)[:, None], tl.arange(0, WIDTH)[None, :]
    start = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * ROWS * CHANNELS
    tl.store(partial + start + row * CHANNELS + channel, total, mask=(channel < CHANNELS) & (row < ROWS))


@triton.jit
def _project_kernel(
    features, weight, out, rows, share,
    PLACES: tl.constexpr, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """What each voxel gives at each tap: out[tap, v] = sum over c of features[v, c] weight[tap, c]."""
    tap, channel = tl.arange(0, PLACES)[:, None], tl.arange(0, WIDTH)[None, :]
    weights = tl.load(weight + tap * CHANNELS + channel, mask=(tap < TAPS) & (channel < CHANNELS), other=0.0)
    begin = tl.program_id(1).to(tl.int64) * rows * TAPS
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        value = tl.load(features + place, mask=mask, other=0.0)
        total = tl.dot(weights.to(value.dtype), tl.trans(value), input_precision="ieee")
        row = _rows_of(number, share, TILE_ROWS)[None, :]
        is_own = (row < rows) & (row < (tl.program_id(0) + 1) * share)
        tl.store(out + begin + tap.to(tl.int64) * rows + row, total, mask=is_own & (tap < TAPS))


@triton.jit
def _gather_kernel(projected, bias, out, rows, Z, Y, X, TILE_ROWS: tl.constexpr):
    """From many channels to one: out[v] = bias + sum over taps of projected[tap, v + tap]."""
    row = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    begin = tl.program_id(1).to(tl.int64) * rows
    total = tl.zeros((TILE_ROWS,), tl.float32) + tl.load(bias).to(tl.float32)
    for tap in tl.static_range(TAPS):
        near, inside = _neighbour(row, tap, rows, Z, Y, X)
        total += tl.load(projected + begin * TAPS + tap * rows + near, mask=inside, other=0.0)
    tl.store(out + begin + row, total, mask=row < rows)


@triton.jit
def _embed_kernel(
    label, table, out, rows, share, labels, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    channel = tl.arange(0, WIDTH)[None, :]
    begin = tl.program_id(1).to(tl.int64) * rows
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        row = _rows_of(number, share, TILE_ROWS)
        of_row = tl.load(label + begin + row, mask=row < rows, other=0).to(tl.int32)[:, None]
        value = tl.load(table + of_row * CHANNELS + channel, mask=mask & (of_row < labels), other=0.0)
        tl.store(out + place, value, mask=mask)


@triton.jit
def _count_kernel(
    label, gradient, partial, rows, share,
    LABELS: tl.constexpr, CHANNELS: tl.constexpr, TILE_ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """A program's sums of the gradient over the voxels of each label, partial (B, programs, LABELS, C)."""
    number_of_label = tl.arange(0, LABELS)[:, None]
    begin = tl.program_id(1).to(tl.int64) * rows
    total = tl.zeros((LABELS, WIDTH), tl.float32)
    for number in range(tl.cdiv(share, TILE_ROWS)):
        place, mask = tile_of_rows(number, rows, share, CHANNELS, TILE_ROWS, WIDTH)
        value = tl.load(gradient + place, mask=mask, other=0.0)
        row = _rows_of(number, share, TILE_ROWS)
        of_row = tl.load(label + begin + row, mask=row < rows, other=0).to(tl.int32)
        is_label = (of_row[None, :] == number_of_label).to(value.dtype)
        total += tl.dot(is_label, value, input_precision="ieee")
    _write_partial(partial, total, LABELS, CHANNELS, WIDTH)


class ImageToFeatures(torch.autograd.Function):
    """The 3^3 convolution of `image_B1ZYX`, plus bias, plus `more_BCZYX`, whose type the result has.

    Also under autocast the image is read as it is; in the product it has the ten bits of TF32, not bfloat16's seven.
    """

    @staticmethod
    def forward(ctx: Any, image_B1ZYX: Tensor, weight: Tensor, bias_C: Tensor, more_BCZYX: Tensor) -> Tensor:
        image = image_B1ZYX.contiguous()
        more = more_BCZYX.contiguous(memory_format=torch.channels_last_3d)
        ctx.save_for_backward(image, weight)
        ctx.image_type = image_B1ZYX.dtype
        weight_PC = torch.cat((weight[:, 0].flatten(1).t(), bias_C[None]))
        return _spread(image, weight_PC.float(), more, more_BCZYX=more)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients_BCZYX: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        image, weight = ctx.saved_tensors
        gradient = gradients_BCZYX[0].contiguous(memory_format=torch.channels_last_3d)
        sums = _collect(image, gradient)
        d_weight = sums[:TAP_COUNT].t().unflatten(1, weight.shape[1:])
        d_image = None
        if ctx.needs_input_grad[0]:
            mirrored = weight[:, 0].flatten(1).t().flip(0)
            d_image = _gather(gradient, mirrored, weight.new_zeros(1)).to(ctx.image_type)
        return d_image, d_weight, sums[TAP_COUNT], gradient


class FeaturesToImage(torch.autograd.Function):
    """The 3^3 convolution of `h_BCZYX` to one channel, plus bias."""

    @staticmethod
    def forward(ctx: Any, h_BCZYX: Tensor, weight: Tensor, bias_1: Tensor) -> Tensor:
        h = h_BCZYX.contiguous(memory_format=torch.channels_last_3d)
        ctx.save_for_backward(h, weight)
        return _gather(h, weight[0].flatten(1).t(), bias_1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients_B1ZYX: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        h, weight = ctx.saved_tensors
        gradient = gradients_B1ZYX[0].contiguous()
        mirrored = weight[0].flatten(1).t().flip(0).float()
        d_h = _spread(gradient, F.pad(mirrored, (0, 0, 0, 1)), h)
        d_weight = _collect(gradient, h)[:TAP_COUNT].flip(0).t().unflatten(1, weight.shape[2:])[None]
        return d_h, d_weight, gradient.sum(dtype=torch.float32)[None]


class Embed(torch.autograd.Function):
    """The embedding of each voxel's label, (B, C, Z, Y, X), channels last; the labels are the rows of the table."""

    @staticmethod
    def forward(ctx: Any, label_BZYX: Tensor, table_LC: Tensor, dtype: torch.dtype) -> Tensor:
        label, table = label_BZYX.contiguous(), table_LC.contiguous()
        shape = (label.shape[0], table.shape[1], *label.shape[1:])
        out = torch.empty(shape, dtype=dtype, device=table.device, memory_format=torch.channels_last_3d)
        grid = Grid(out, 1)
        _embed_kernel[grid.tiles](label, table, out, *grid.arguments, len(table), **grid.shape)
        ctx.save_for_backward(label)
        ctx.table = len(table), table.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients_BCZYX: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (label,) = ctx.saved_tensors
        labels, dtype = ctx.table
        gradient = gradients_BCZYX[0].contiguous(memory_format=torch.channels_last_3d)
        grid = Grid(gradient, 1, LEAST, tile=SMALL_TILE)
        padded = max(LEAST, triton.next_power_of_2(labels))
        partial = grid.partial(padded)
        _count_kernel[grid.tiles](label, gradient, partial, *grid.arguments, LABELS=padded, **grid.shape)
        return None, partial.sum((0, 1))[:labels].to(dtype), None


def _spread(image_B1ZYX: Tensor, weight_PC: Tensor, like_BCZYX: Tensor, more_BCZYX: Tensor | None = None) -> Tensor:
    """Return the sums over places, with what is given besides; the result has the form of `like_BCZYX`."""
    out = torch.empty_like(like_BCZYX)
    grid = Grid(out, 1, LEAST, SMALL_TILE)
    _spread_kernel[grid.tiles](
        image_B1ZYX, weight_PC.contiguous(), out if more_BCZYX is None else more_BCZYX, out,
        *grid.arguments, *out.shape[2:],
        HAS_MORE=more_BCZYX is not None, PRECISION="ieee" if out.dtype == torch.float32 else "tf32",
        PLACES=PLACES, **grid.shape,
    )  # fmt: skip
    return out


def _collect(image_B1ZYX: Tensor, features_BCZYX: Tensor) -> Tensor:
    """Return the sums over voxels for each place, (PLACES, C), float32; after the taps those of the features."""
    grid = Grid(features_BCZYX, 1, LEAST, SMALL_TILE)
    partial = grid.partial(PLACES)
    _collect_kernel[grid.tiles](
        image_B1ZYX, features_BCZYX, partial, *grid.arguments, *features_BCZYX.shape[2:], PLACES=PLACES, **grid.shape
    )
    return partial.sum((0, 1))


def _gather(features_BCZYX: Tensor, weight_TC: Tensor, bias_1: Tensor) -> Tensor:
    batch, size, device = len(features_BCZYX), features_BCZYX.shape[2:], features_BCZYX.device
    grid = Grid(features_BCZYX, 1, LEAST)
    projected = torch.empty((batch, TAP_COUNT, grid.rows), device=device)
    _project_kernel[grid.tiles](
        features_BCZYX, weight_TC.contiguous(), projected, *grid.arguments, PLACES=PLACES, **grid.shape
    )
    out = torch.empty((batch, 1, *size), dtype=features_BCZYX.dtype, device=device)
    tile = min(SMALL_TILE, triton.next_power_of_2(grid.rows))
    _gather_kernel[triton.cdiv(grid.rows, tile), batch](projected, bias_1, out, grid.rows, *size, TILE_ROWS=tile)
    return out
