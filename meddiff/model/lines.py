"""The convolution of volumes that vary along one axis alone, such as the coordinates of a grid.

What such a volume adds to a voxel depends on where the voxel lies along its axis and on whether it is the first, an
inner or the last one along the others, where a part of the kernel lies outside. So nine convolutions of a line do for
each axis, a thousandth of those of the volume.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve_lines(lines_zyx: Sequence[Tensor], kernels_zyx: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return the sum of three convolutions with zero padding, shape (B, channels, Z, Y, X), channels last in memory.

    The convolutions are computed in float32 at least, whatever the precision around them; what they add up to, which is
    all that takes time, has the precision that is asked for.

    Args:
        lines_zyx: for each axis the values along it, (B, C, voxels), at least two voxels; they are the same along the
            other axes.
        kernels_zyx: for each axis the kernel of its channels, (channels, C, 3, 3, 3).
        dtype: of the result.
    """
    sizes, kind = [line.shape[-1] for line in lines_zyx], lines_zyx[0].device.type
    with torch.autocast("cpu" if kind == "meta" else kind, enabled=False):  # tensors without data know no autocast
        z, y, x = (_by_place(*each, axis) for axis, each in enumerate(zip(lines_zyx, kernels_zyx, strict=True)))
        plane = _spread(z, 2, sizes[1]) + _spread(y, 1, sizes[0])  # (B, Z, Y, 3, channels)
        row = _spread(x, 1, sizes[0])  # (B, Z, 3, X, channels)
        volume = _spread(plane.to(dtype), 3, sizes[2]) + _spread(row.to(dtype), 2, sizes[1])
    return volume.permute(0, 4, 1, 2, 3)


def _by_place(line_BCN: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """Return what a line adds by the place along the other axes, (B, 3, 3, 3, channels) but for `axis`, of N voxels."""
    precise = torch.promote_types(kernel.dtype, torch.float32)
    along = kernel.to(precise).movedim(2 + axis, 2)
    summed = _add_inside(_add_inside(along, 3), 3)  # (channels, C, 3, first place, second place)
    found = F.conv1d(line_BCN.to(precise), summed.permute(3, 4, 0, 1, 2).flatten(0, 2), padding=1)
    return found.unflatten(1, (3, 3, len(kernel))).permute(0, 4, 1, 2, 3).movedim(1, 1 + axis)


def _add_inside(kernel: Tensor, dim: int) -> Tensor:
    """Return, in the last dimension, the sums of the taps inside at the first, an inner and the last voxel."""
    first, middle, last = kernel.unbind(dim)
    return torch.stack((middle + last, first + middle + last, first + middle), -1)


def _spread(part: Tensor, dim: int, size: int) -> Tensor:
    """Return a part whose first, inner and last place along an axis are so many voxels."""
    first, inner, last = part.split(1, dim)
    shape = list(part.shape)
    shape[dim] = size - 2
    return torch.cat((first, inner.expand(shape), last), dim)
