"""HU windows."""

import numpy as np
import pytest

from meddiff.config import Region, WindowsConfig
from meddiff.data.windows import clip_hu, denormalise, normalise


@pytest.mark.parametrize(
    ("region", "low", "high"), [(Region.HAN, -150, 250), (Region.CHEST, -1400, 400), (Region.ABDOMEN, -120, 240)]
)
def test_the_papers_windows_and_the_way_back(region, low, high):
    window = WindowsConfig().of(region)
    assert (window.low_hu, window.high_hu) == (low, high)
    hu = np.arange(low, high + 1, dtype=np.int16)
    scaled = normalise(hu, window)
    assert (scaled[0], scaled[-1]) == (-1, 1)
    np.testing.assert_array_equal(denormalise(scaled, window), hu)
    np.testing.assert_array_equal(clip_hu(np.array([-3000, 0, 3000]), window), [low, 0, high])
    np.testing.assert_array_equal(normalise(np.array([-3000, 3000]), window), [-1, 1])
