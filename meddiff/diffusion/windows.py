"""Sliding windows over a volume (section 3.3, Fig. 4): where they lie and how they are weighted."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

Corner = tuple[int, int, int]


def overlapping_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return the first voxels of evenly spread windows that cover 0 to `size` - 1; the last one ends with the volume.

    Args:
        size: voxels of the axis, at least `window`.
        window: voxels of a window.
        overlap: least share of a window that overlaps the next one, 0 to below 1.
    """
    stride = max(1, int(window * (1 - overlap)))
    count = math.ceil((size - window) / stride) + 1
    if count == 1:
        return [0]
    return [round(i * (size - window) / (count - 1)) for i in range(count)]


def fitting_window(size: int, patch_vox: int, overlap: float, divisor: int) -> int:
    """Return the window with which an axis is covered by the fewest voxels, all windows together.

    Choice: it is between four fifths and five quarters of a patch; what is shorter is worse (benchmarks/README.md).

    Args:
        size: voxels of the axis, at least `patch_vox`.
        patch_vox: voxels of a patch.
        overlap: as in `overlapping_starts`.
        divisor: a window's voxels are a multiple of it.
    """
    shortest, longest = math.ceil(4 / 5 * patch_vox / divisor) * divisor, 5 * patch_vox // 4
    windows = range(shortest, min(longest, size) + 1, divisor)
    return min(windows, key=lambda each: (each * len(overlapping_starts(size, each, overlap)), -each))


def shifted_starts(size: int, window: int, shift: int) -> list[int]:
    """Return the first voxels of windows side by side that cover 0 to `size` - 1.

    One of them begins at `shift`; those that would stick out of the volume are moved inside.

    Args:
        size: voxels of the axis, at least `window`.
        window: voxels of a window.
        shift: 0 to `window` - 1.
    """
    return sorted({min(max(start, 0), size - window) for start in range(shift - window, size, window)})


def window_borders(size: int, window: int, starts: Sequence[int]) -> list[int]:
    """Return the inner planes, 1 to `size` - 1, with which a window begins, or before which one ends."""
    edges = {*starts, *(start + window for start in starts)}
    return sorted(edges - {0, size})


def corners_of(starts_zyx: Sequence[Sequence[int]]) -> list[Corner]:
    """Return the corners of all windows of a volume from the starts along each axis."""
    return list(itertools.product(*starts_zyx))  # type: ignore[arg-type]


def window_profile(window: int) -> Tensor:
    """Return the smooth positive weight of a window's voxels along one axis, shape (window,).

    Choice: a Hann window, which all but vanishes at the border, where a window knows least and where windows that
    disagree would leave a seam; those that overlap by half add up to one.
    """
    centres = (torch.arange(window, dtype=torch.float32) + 0.5) / window
    return torch.sin(math.pi * centres) ** 2


def window_weight(window_zyx: Sequence[int]) -> Tensor:
    """Return the weight of a window's voxels, of its shape: the product of the axes' profiles."""
    z, y, x = map(window_profile, window_zyx)
    return z[:, None, None] * y[:, None] * x


def total_profile(size: int, window: int, starts: Sequence[int]) -> Tensor:
    """Return the sum of the profiles of all windows along one axis, shape (size,)."""
    total = torch.zeros(size)
    for start in starts:
        total[start : start + window] += window_profile(window)
    return total


def window_slices(corner: Corner, window_zyx: Sequence[int]) -> tuple[slice, ...]:
    """Return the index of a window in a `zyx` array."""
    return tuple(slice(start, start + size) for start, size in zip(corner, window_zyx, strict=True))
