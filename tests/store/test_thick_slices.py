"""Thick slices: the mean of thin ones, the ways back, and where all of them lie."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddiff.store.patches import Crop, cut
from meddiff.store.record import resize, resize_labels
from meddiff.store.thick_slices import b_spline, draw_thick, interpolate, repeat, thick_drawer, thicken, thin_grid
from meddiff.volumes.hu import normalise
from tests.conftest import make_record
from tests.store.test_patches import coordinates_to_voxel

FACTORS = [2, 3, 5]
PATCH = 16


def volume(size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def ramp(count):
    """Slices whose value is their number."""
    return torch.arange(count, dtype=torch.float32)[:, None, None].expand(count, 3, 4)


def thin_places(count, factor):
    """Return where the centres of the thin slices lie, in thick slices."""
    return (np.arange(count * factor) + 0.5) / factor - 0.5


@pytest.mark.parametrize("factor", FACTORS)
def test_a_thick_slice_is_the_mean_and_the_rest_is_left_out(factor):
    thin = volume((4 * factor + factor - 1, 3, 5))
    expected = [thin.double().numpy()[i * factor : (i + 1) * factor].mean(0) for i in range(4)]
    np.testing.assert_allclose(thicken(thin, factor), expected, atol=1e-6)


def test_thick_slices_of_integers_are_no_integers():
    assert thicken(torch.tensor([1, 2], dtype=torch.int16)[:, None, None], 2).item() == 1.5


@given(st.integers(2, 7), st.integers(1, 6), st.integers(0, 2**32))
def test_repeating_is_factor_times_the_adjoint(factor, count, seed):
    x, y = volume((count * factor, 2, 3), seed), volume((count, 2, 3), seed + 1)
    left = float((thicken(x, factor).double() * y).sum())
    assert left == pytest.approx(float((x.double() * repeat(y, factor)).sum()) / factor, abs=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_thickening_what_was_repeated_gives_it_back(factor):
    thick = volume((4, 3, 5))
    torch.testing.assert_close(thicken(repeat(thick, factor), factor), thick, atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", FACTORS)
def test_interpolation_is_exact_for_a_ramp_and_goes_on_at_the_ends(factor):
    expected = np.clip(thin_places(6, factor), 0, 5)
    found = interpolate(ramp(6), factor)
    assert found.shape == (6 * factor, 3, 4)
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], found.shape), atol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_interpolation_is_that_of_numpy_in_every_column(factor):
    thick = volume((5, 2, 3))
    found = interpolate(thick, factor).numpy()
    for y, x in np.ndindex(2, 3):
        expected = np.interp(thin_places(5, factor), np.arange(5), thick[:, y, x].double().numpy())
        np.testing.assert_allclose(found[:, y, x], expected, atol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_splines_keep_a_constant(factor):
    found = b_spline(np.full((4, 3, 5), -7, np.int16), factor)
    assert found.shape == (4 * factor, 3, 5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, -7, atol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_splines_are_exact_for_a_ramp_inside(factor):
    """The ends, where slices go on, are felt as 0.27 to the power of the distance."""
    found, inner = b_spline(ramp(30).numpy(), factor), slice(9 * factor, 21 * factor)
    expected = np.broadcast_to(thin_places(30, factor)[:, None, None], found.shape)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)


def test_splines_are_smoother_than_lines_where_they_bend():
    """A sine of eight slices: cubic splines are far closer to it than lines."""
    wave, places = (lambda z: np.sin(2 * np.pi * z / 8)), thin_places(32, 5)
    thick = np.broadcast_to(wave(np.arange(32))[:, None, None], (32, 2, 2)).astype(np.float32)
    inner = slice(8 * 5, 24 * 5)
    by_splines = np.abs(b_spline(thick, 5)[inner, 0, 0] - wave(places)[inner]).max()
    by_lines = np.abs(interpolate(torch.from_numpy(thick), 5).numpy()[inner, 0, 0] - wave(places)[inner]).max()
    assert by_splines < 0.01 < 0.05 < by_lines


ROTATION = (0.8, -0.6, 0.0, 0.36, 0.48, 0.8, -0.48, -0.64, 0.6)


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, 1, 0, 0, 0, -1), ROTATION])
@pytest.mark.parametrize("factor", FACTORS)
def test_thin_slices_lie_around_their_thick_one(direction, factor):
    thick = sitk.Image((4, 5, 3), sitk.sitkInt16)
    thick.SetSpacing((0.7, 0.8, 4.5))
    thick.SetOrigin((-11.0, 23.0, 37.0))
    thick.SetDirection(direction)
    thin = thin_grid(thick, factor)
    assert thin.GetSize() == (4, 5, 3 * factor)
    for x, y, z in ((0, 0, 0), (3, 4, 2), (1, 0, 1)):
        group = [thin.TransformIndexToPhysicalPoint((x, y, z * factor + i)) for i in range(factor)]
        np.testing.assert_allclose(np.mean(group, 0), thick.TransformIndexToPhysicalPoint((x, y, z)), atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(np.subtract(group[1], group[0])), 4.5 / factor, atol=1e-9)


def thick_of_all(record, factor):
    return interpolate(thicken(torch.from_numpy(normalise(record.ct[:], record.meta.window)), factor), factor)


def place_of(sample, record):
    corner = coordinates_to_voxel(sample.coordinates, record.meta.size_zyx)[:, 0, 0, 0]
    np.testing.assert_allclose(corner, np.round(corner), atol=1e-3)
    return np.round(corner).astype(int)


@pytest.mark.parametrize("factor", [3, 5])
def test_a_patch_has_the_thick_slices_of_the_whole_region(record, factor):
    whole, rests = thick_of_all(record, factor), set()
    for seed in range(60):
        sample = draw_thick(record, "patch", PATCH, np.random.default_rng(seed), factor=factor)
        z, y, x = place_of(sample, record)
        if not factor <= z <= len(whole) - PATCH - factor:
            continue
        expected = whole[z : z + PATCH, y : y + PATCH, x : x + PATCH]
        torch.testing.assert_close(sample.target[0], expected, atol=1e-6, rtol=0)
        rests.add(z % factor)
    assert rests == set(range(factor))


def test_image_and_anatomy_are_those_of_the_same_place(record):
    sample = draw_thick(record, "patch", PATCH, np.random.default_rng(0), 7, factor=5)
    plain = cut(record, Crop("patch", PATCH, place_of(sample, record).tolist()), 7)
    assert torch.equal(sample.image, plain.image)
    assert torch.equal(sample.anatomy, plain.anatomy)
    assert (sample.record, sample.level) == (7, plain.level)


@pytest.mark.parametrize("factor", [3, 5])
def test_the_ends_of_the_region_go_on(record, factor):
    """Of a scan whose slices are all alike, nothing of the air beyond it reaches the target."""

    class Alike:
        meta = record.meta
        ct = np.broadcast_to(record.ct[20], record.meta.size_zyx)
        anatomy = np.ones_like(ct, np.uint8)
        image_ct, image_anatomy = resize(ct, PATCH), resize_labels(anatomy, PATCH)

    places = set()
    for seed in range(40):
        sample = draw_thick(Alike, "patch", PATCH, np.random.default_rng(seed), factor=factor)
        torch.testing.assert_close(sample.target, sample.image, atol=1e-6, rtol=0)
        places.add(int(place_of(sample, record)[0]))
    assert min(places) < factor
    assert max(places) > record.meta.size_zyx[0] - PATCH - factor


def test_a_region_smaller_than_the_patch_has_air_beside_it(tmp_path):
    small = make_record(tmp_path / "small", seed=1, patch_vox=64)
    sample = draw_thick(small, "patch", 64, np.random.default_rng(0), factor=5)
    assert sample.target.shape == (1, 64, 64, 64)
    y = coordinates_to_voxel(sample.coordinates, small.meta.size_zyx)[1]
    beside = (y < 0) | (y > small.meta.size_zyx[1] - 1)
    np.testing.assert_allclose(sample.target[0].numpy()[beside], -5 / 9, atol=1e-6)  # -1,000 HU


def test_the_drawer_has_the_arguments_of_others(record):
    samples = [
        draw_thick(record, "patch", PATCH, np.random.default_rng(4), 2, factor=3),
        thick_drawer(3)(record, "patch", PATCH, np.random.default_rng(4), 2),
    ]
    assert torch.equal(samples[0].target, samples[1].target)
