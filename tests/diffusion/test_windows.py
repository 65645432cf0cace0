"""Windows: every voxel is covered, whatever the size and the overlap."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddiff.diffusion.windows import at, window_corners, window_starts, window_weight

WINDOW = st.integers(1, 40)


@given(WINDOW, st.integers(0, 300), st.floats(0, 0.95))
def test_windows_cover_the_axis_with_the_overlap_asked_for(window, extra, overlap):
    size = window + extra
    starts = window_starts(size, window, overlap)
    assert (starts[0], starts[-1]) == (0, size - window)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, int(window * (1 - overlap)))).all()


@given(st.tuples(*[st.integers(8, 23)] * 3), st.floats(0, 0.8))
def test_normalised_weights_sum_to_one_everywhere(size, overlap):
    weight, total = window_weight(8), torch.zeros(size)
    corners = window_corners(size, 8, overlap)
    for corner in corners:
        total[at(corner, 8)] += weight
    assert (total > 0).all()
    share = torch.zeros(size)
    for corner in corners:
        share[at(corner, 8)] += weight / total[at(corner, 8)]
    torch.testing.assert_close(share, torch.ones(size))


def test_the_weight_is_symmetric_and_largest_in_the_middle():
    weight = window_weight(8)
    for axis in range(3):
        torch.testing.assert_close(weight, weight.flip(axis))
    assert weight.max() == weight[3, 3, 3]
    assert weight.min() > 0
