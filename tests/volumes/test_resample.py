"""Resampling: values, place in space, no aliasing, and bounded memory."""

import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from meddiff.volumes import resample, volumes
from meddiff.volumes.resample import isotropic_grid, resample_ct, resample_onto


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


@given(
    st.tuples(*[st.integers(2, 20)] * 3),
    st.tuples(*[st.floats(1.0, 3.0)] * 3),
    st.tuples(*[st.floats(-9, 9)] * 3),
)
def test_where_axes_grow_it_is_the_cubic_spline_of_simpleitk(size_zyx, spacing, shift):
    noise = np.random.default_rng(0).integers(-900, 900, size_zyx)
    image = image_of(noise, spacing)
    grid = isotropic_grid(image, 1.0)
    grid.SetOrigin((np.array(grid.GetOrigin()) + shift).tolist())
    ours = volumes.to_zyx(resample_onto(image, grid)).astype(float)
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(image, grid, sitk.Transform(), sitk.sitkBSpline, volumes.AIR_HU, sitk.sitkFloat64)
    )
    axes = zip(image.GetOrigin(), spacing, size_zyx[::-1], grid.GetOrigin(), grid.GetSize(), strict=True)
    between = [
        (begin + np.arange(new) > first) & (begin + np.arange(new) < first + step * (old - 1))
        for first, step, old, begin, new in axes
    ]  # the centres of the outermost voxels
    inside = np.ix_(*between[::-1])
    assert np.abs(ours - theirs.clip(volumes.AIR_HU))[inside].max(initial=0) <= 6  # of noise of 1,800 HU


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 2.5), (0.6, 0.6, 0.6), (1.5, 1.5, 1.5)])
def test_smooth_structures_come_much_closer_to_the_truth_than_by_linear_interpolation(spacing):
    """Waves of 8 mm and longer, whose values are known everywhere."""
    waves_per_mm = np.random.default_rng(1).uniform(-0.07, 0.07, (8, 3))
    image = image_of(np.zeros([round(40 / s) for s in spacing[::-1]]), spacing)

    def truth(grid):
        xyz_mm = np.indices(grid.GetSize()).T * grid.GetSpacing() + grid.GetOrigin()
        return 100 * np.cos(2 * np.pi * xyz_mm @ waves_per_mm.T).sum(-1)

    scan = volumes.like(np.round(truth(image)).astype(np.int16), image)
    grid = isotropic_grid(scan, 1.0)
    inner = (slice(4, -4),) * 3
    ours, linear = (
        np.sqrt(np.mean((volumes.to_zyx(out) - truth(grid))[inner] ** 2))
        for out in (resample_ct(scan, 1.0), volumes.onto(scan, grid))
    )
    assert ours < 0.5 * linear


@pytest.mark.parametrize("spacing_mm", [0.7, 1.3])
def test_an_edge_overshoots_by_a_tenth_at_most_and_only_nearby(spacing_mm):
    step = image_of(np.where(np.arange(64) < 32, -500, 500) * np.ones((16, 16, 1)), (spacing_mm,) * 3)
    out = volumes.to_zyx(resample_ct(step, 1.0))
    assert 500 < out.max() <= 610
    assert -610 <= out.min() < -500
    edge = out.shape[2] // 2
    assert np.abs(np.abs(out[:, :, [edge - 9, edge + 9]]) - 500).max() <= 1


def test_metal_at_the_limit_of_int16_does_not_wrap():
    metal = np.full((20, 20, 20), -1024)
    metal[8:12, 8:12, 8:12] = 32767
    out = volumes.to_zyx(resample_ct(image_of(metal, (0.7, 0.7, 0.7)), 1.0))
    assert out.max() == 32767
    assert out.min() == volumes.AIR_HU


@pytest.mark.parametrize("spacing_mm", [0.8, 3.0])
def test_an_oblique_scan_keeps_its_places(spacing_mm):
    """A ramp along a direction of space is that ramp in every scan of it."""
    image = image_of(np.zeros((60, 60, 60)), spacing=(1.0, 1.0, 1.0))
    c, s = np.cos(0.3), np.sin(0.3)
    image.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    index = np.indices((60, 60, 60))[::-1].reshape(3, -1)
    places = np.reshape(image.GetDirection(), (3, 3)) @ index + np.array(image.GetOrigin())[:, None]
    ramp = volumes.like((10 * places[0] + 6 * places[2]).reshape((60, 60, 60)).round().astype(np.int16), image)
    out = resample_ct(ramp, spacing_mm)
    middle = [n // 2 for n in out.GetSize()]
    expected = out.TransformIndexToPhysicalPoint(middle)
    assert abs(out[middle] - (10 * expected[0] + 6 * expected[2])) <= 2


def test_slabs_change_nothing_and_bound_the_memory(monkeypatch):
    noise = image_of(np.random.default_rng(0).integers(-1000, 1000, (450, 160, 160)), (0.9, 0.9, 1.2))
    whole_slab = 160 * 160 * 4 * (resample.SLAB_VOX + 2 * resample.REACH_VOX)
    tracemalloc.start()
    slabs = resample_ct(noise, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    voxels = np.prod(slabs.GetSize())
    assert peak < 2 * voxels + 6 * whole_slab  # of the result 2 bytes here, 2 more in the image that copies it
    monkeypatch.setattr(resample, "SLAB_VOX", 1000)
    monkeypatch.setattr(resample, "BLOCK_VOX", 1000)
    at_once = volumes.to_zyx(resample_ct(noise, 1.0))
    assert np.abs(volumes.to_zyx(slabs) - at_once).max() <= 1  # sums in another order
