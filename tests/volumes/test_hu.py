"""HU windows."""

import numpy as np
import pytest

from meddiff.config import Region, WindowsConfig
from meddiff.volumes.hu import air_hu, air_scaled, clip_hu, denormalise, normalise


@pytest.mark.parametrize(
    ("region", "low", "high"), [(Region.HAN, -150, 250), (Region.CHEST, -1400, 400), (Region.ABDOMEN, -120, 240)]
)
def test_the_papers_windows_and_the_way_back(region, low, high):
    window = WindowsConfig().for_region(region)
    assert (window.low_hu, window.high_hu) == (low, high)
    hu = np.arange(low, high + 1, dtype=np.int16)
    scaled = normalise(hu, window)
    assert (scaled[0], scaled[-1]) == (-1, 1)
    np.testing.assert_array_equal(denormalise(scaled, window), hu)
    np.testing.assert_array_equal(clip_hu(np.array([-3000, 0, 3000]), window), [low, 0, high])
    np.testing.assert_array_equal(normalise(np.array([-3000, 3000]), window), [-1, 1])


@pytest.mark.parametrize(
    ("region", "hu", "scaled"), [(Region.HAN, -150, -1), (Region.CHEST, -1000, -5 / 9), (Region.ABDOMEN, -120, -1)]
)
def test_air_is_air_in_every_window(region, hu, scaled):
    window = WindowsConfig().for_region(region)
    assert air_hu(window) == hu
    assert air_scaled(window) == pytest.approx(scaled, abs=1e-6)
    assert denormalise(np.array(air_scaled(window)), window) == hu
