"""Resampling: values, place in space, and no aliasing."""

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.data import volumes
from meddiff.data.resample import isotropic_grid, resample_ct


def image_of(array_zyx, spacing=(1.0, 1.0, 2.5)):
    image = sitk.GetImageFromArray(array_zyx.astype(np.int16))
    image.SetSpacing(spacing)
    image.SetOrigin((5.0, -3.0, 40.0))
    return image


@pytest.mark.parametrize("spacing_mm", [0.8, 1.0, 4.0])
def test_a_constant_stays_constant(spacing_mm):
    out = volumes.to_zyx(resample_ct(image_of(np.full((20, 30, 40), 77)), spacing_mm))
    assert np.abs(out - 77).max() <= 1


def test_a_linear_ramp_keeps_its_place_in_space():
    z, _, x = np.indices((40, 30, 60))
    out = resample_ct(image_of(4 * x + 6 * z), 2.0)
    inner = volumes.to_zyx(out)[5:-5, 3:-3, 5:-5]
    index = np.indices(inner.shape)[::-1] + np.array([5, 3, 5])[:, None, None, None]
    place = index * 2.0 + np.array(out.GetOrigin())[:, None, None, None]
    expected = 4 * (place[0] - 5.0) / 1.0 + 6 * (place[2] - 40.0) / 2.5
    np.testing.assert_allclose(inner, expected, atol=1.0)


def test_the_box_of_space_keeps_its_centre():
    image = image_of(np.zeros((21, 33, 47)))
    grid = isotropic_grid(image, 3.0)

    def centre(i):
        return i.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in i.GetSize()])

    np.testing.assert_allclose(centre(grid), centre(image), atol=1e-9)
    extent = np.array(image.GetSize()) * image.GetSpacing()
    assert np.abs(np.array(grid.GetSize()) * 3.0 - extent).max() <= 1.5 + 1e-9


def test_a_fine_pattern_averages_out_instead_of_aliasing():
    _, _, x = np.indices((16, 16, 64))
    stripes = image_of(np.where(x % 2, 400, -400), spacing=(1.0, 1.0, 1.0))
    smoothed = volumes.to_zyx(resample_ct(stripes, 4.0))[:, :, 2:-2]
    assert np.abs(smoothed).max() < 40
    naive = sitk.Resample(stripes, isotropic_grid(stripes, 3.0), sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    assert np.abs(volumes.to_zyx(naive)).max() == 400


def test_an_oblique_scan_lies_inside_its_axis_aligned_box():
    image = image_of(np.full((20, 20, 20), 100), spacing=(2.0, 2.0, 2.0))
    c, s = np.cos(0.3), np.sin(0.3)
    image.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    out = volumes.to_zyx(resample_ct(image, 2.0))
    assert abs((out > 0).sum() - 8000) < 800
    assert out.min() == volumes.AIR_HU
