"""Sliding windows over a volume (section 3.3, Fig. 4): where they lie and how they are weighted."""

import itertools
import math

import torch
from torch import Tensor

Corner = tuple[int, int, int]


def window_starts(size: int, window: int, overlap: float) -> list[int]:
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


def window_corners(size_zyx: tuple[int, ...], window: int, overlap: float) -> list[Corner]:
    """Return the corners of all windows of a volume."""
    return list(itertools.product(*(window_starts(size, window, overlap) for size in size_zyx)))  # type: ignore[arg-type]


def window_weight(window: int) -> Tensor:
    """Return the smooth positive weight of a window's voxels, shape (window,) * 3.

    Choice: a Gaussian with a standard deviation of a quarter of the window, so that a voxel near a window's border
    counts little where another window sees it in its middle.
    """
    axis = torch.arange(window, dtype=torch.float32) - (window - 1) / 2
    profile = torch.exp(-0.5 * (axis / (window / 4)) ** 2)
    return profile[:, None, None] * profile[:, None] * profile


def at(corner: Corner, window: int) -> tuple[slice, ...]:
    """Return the index of a window in a `zyx` array."""
    return tuple(slice(start, start + window) for start in corner)
