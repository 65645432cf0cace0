"""Windows: every voxel is covered, whatever the size and the overlap."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddiff.diffusion.windows import (
    corners_of,
    fitting_window,
    overlapping_starts,
    shifted_starts,
    total_profile,
    window_slices,
    window_weight,
)

WINDOW = st.integers(1, 40)


@given(WINDOW, st.integers(0, 300), st.floats(0, 0.95))
def test_windows_cover_the_axis_with_the_overlap_asked_for(window, extra, overlap):
    size = window + extra
    starts = overlapping_starts(size, window, overlap)
    assert (starts[0], starts[-1]) == (0, size - window)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, int(window * (1 - overlap)))).all()


@given(st.integers(1, 16), st.integers(1, 8), st.integers(0, 300), st.floats(0, 0.9))
def test_no_window_that_fits_covers_the_axis_with_fewer_voxels(patches, divisor, extra, overlap):
    patch_vox = patches * divisor
    size = patch_vox + extra

    def voxels(window):
        return window * len(overlapping_starts(size, window, overlap))

    found = fitting_window(size, patch_vox, overlap, divisor)
    assert found % divisor == 0
    assert found <= size
    assert 4 / 5 * patch_vox <= found <= 5 / 4 * patch_vox
    assert voxels(found) <= voxels(patch_vox)


@pytest.mark.parametrize(
    ("size", "overlap", "window"),
    [(128, 0.5, 128), (136, 0.25, 136), (192, 0.0625, 104), (256, 0.0625, 136), (256, 0.5, 128), (512, 0.0625, 136)],
)
def test_a_window_is_as_long_as_it_takes(size, overlap, window):
    assert fitting_window(size, 128, overlap, 8) == window


@given(WINDOW, st.integers(0, 300), st.integers(0, 1000))
def test_shifted_windows_cover_the_axis_side_by_side(window, extra, shift):
    size = window + extra
    starts = shifted_starts(size, window, shift % window)
    assert (starts[0], starts[-1]) == (0, size - window)
    assert (np.diff(starts) <= window).all()
    assert len(starts) <= size // window + 2
    inner = [start for start in starts if 0 < start < size - window]
    assert all(start % window == shift % window for start in inner)


@given(st.tuples(*[st.integers(8, 23)] * 3), st.floats(0, 0.8), st.booleans(), st.integers(0, 7))
def test_normalised_weights_sum_to_one_everywhere(size, overlap, moved, shift):
    starts = [shifted_starts(n, 8, shift) if moved else overlapping_starts(n, 8, overlap) for n in size]
    z, y, x = (total_profile(n, 8, axis_starts) for n, axis_starts in zip(size, starts, strict=True))
    total = z[:, None, None] * y[:, None] * x
    assert (total > 0).all()
    weight, share = window_weight((8, 8, 8)), torch.zeros(size)
    for corner in corners_of(starts):
        share[window_slices(corner, (8, 8, 8))] += weight / total[window_slices(corner, (8, 8, 8))]
    torch.testing.assert_close(share, torch.ones(size))


def test_the_weight_is_symmetric_and_largest_in_the_middle():
    weight = window_weight((8, 6, 10))
    assert weight.shape == (8, 6, 10)
    for axis in range(3):
        torch.testing.assert_close(weight, weight.flip(axis))
    assert weight.max() == weight[3, 2, 4]
    assert weight.min() > 0
