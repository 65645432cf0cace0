"""The crop store and the three input levels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddiff.config import LevelWeights
from meddiff.store.patches import LEVELS, PatchDataset, draw, halve
from meddiff.store.record import resize, resize_labels
from meddiff.volumes.hu import normalise

from ..conftest import make_record

PATCH = 16
AIR = -5 / 9  # -1,000 HU in the chest's window


def coordinates_to_voxel(coordinates, size_zyx):
    """Return the voxel index (z, y, x) of p_c, the inverse of Eq. 3."""
    xyz = coordinates.numpy()
    return np.stack([(xyz[2 - axis] + 1) / 2 * (n - 1) for axis, n in enumerate(size_zyx)])


def test_stored_arrays_are_the_clipped_scan(record):
    ct = record.ct[:]
    assert ct.dtype == np.int16
    assert ct.shape == record.meta.size_zyx == record.anatomy.shape
    assert ct.min() >= record.meta.window.low_hu
    np.testing.assert_array_equal(record.ct[3:9, 2:8, 5:12], ct[3:9, 2:8, 5:12])
    assert record.image_ct.shape == (PATCH,) * 3


def test_a_crop_shows_the_voxels_that_its_coordinates_name(record):
    rng = np.random.default_rng(0)
    full = normalise(record.ct[:], record.meta.window)
    labels = record.anatomy[:]
    for _ in range(10):
        sample = draw(record, "patch", PATCH, rng)
        index = coordinates_to_voxel(sample.coordinates, full.shape)
        np.testing.assert_allclose(index, np.round(index), atol=1e-3)
        index = np.round(index).astype(int)
        inside = np.all([(index[a] >= 0) & (index[a] < full.shape[a]) for a in range(3)], axis=0)
        np.testing.assert_array_equal(sample.image[0].numpy()[inside], full[tuple(index[:, inside])])
        np.testing.assert_array_equal(sample.anatomy.numpy()[inside], labels[tuple(index[:, inside])])
        np.testing.assert_allclose(sample.image[0].numpy()[~inside], AIR, atol=1e-6)
        assert (sample.anatomy.numpy()[~inside] == 0).all()


@pytest.mark.parametrize("level", ["image", "double"])
def test_coarser_levels_show_the_same_places(record, level):
    """A smooth volume, sampled at the coordinates of the patch, is what the patch shows."""
    z, y, x = np.indices(record.meta.size_zyx)
    hu = (10 * z + 3 * y - 4 * x - 500).astype(np.int16)

    class Smooth:
        meta = record.meta
        ct = hu.clip(-1400, 400)
        anatomy = np.ones_like(hu, np.uint8)
        image_ct = resize(ct, PATCH)
        image_anatomy = resize_labels(anatomy, PATCH)

    sample = draw(Smooth, level, PATCH, np.random.default_rng(1))
    index = coordinates_to_voxel(sample.coordinates, hu.shape)
    expected = 10 * index[0] + 3 * index[1] - 4 * index[2] - 500
    inner = sample.anatomy.numpy() == 1
    inner &= np.all([(index[a] > 1) & (index[a] < n - 2) for a, n in enumerate(hu.shape)], axis=0)
    got = sample.image[0].numpy() * 900 - 500
    assert inner.sum() > 500
    np.testing.assert_allclose(got[inner], expected[inner], atol=12)


def test_samples_depend_on_seed_and_number_alone(record):
    def make(seed):
        return PatchDataset([record], LevelWeights(), PATCH, seed, 100)

    first, second = make(0), make(0)
    _ = [second[i] for i in (5, 1, 9)]
    for number in (0, 3, 9):
        assert torch.equal(first[number].image, second[number].image)
        assert torch.equal(first[number].coordinates, second[number].coordinates)
    assert not torch.equal(make(0)[3].coordinates, make(1)[3].coordinates)


def test_each_epoch_takes_every_region_once_in_an_order_of_its_own(record):
    data = PatchDataset([record] * 20, LevelWeights(), PATCH, 0, 60)
    _ = data[47], data[3]  # what was drawn before does not matter
    epochs = [[data[number].record for number in range(first, first + 20)] for first in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [list(range(20)), *epochs]}) == 4
    assert [data.record_of(number) for number in range(60)] == [*epochs[0], *epochs[1], *epochs[2]]
    other = PatchDataset([record] * 20, LevelWeights(), PATCH, 1, 60)
    assert [other.record_of(number) for number in range(20)] not in epochs


def test_levels_are_drawn_as_often_as_configured(record):
    data = PatchDataset([record], LevelWeights(image=1, double=0, patch=3), PATCH, 0, 400)
    levels = [LEVELS[data[i].level] for i in range(400)]
    assert "double" not in levels
    assert 0.17 < levels.count("image") / 400 < 0.33


def test_a_region_smaller_than_the_crop_is_padded_with_air(tmp_path):
    small = make_record(tmp_path / "small", seed=1, patch_vox=64)
    sample = draw(small, "double", 64, np.random.default_rng(0))
    assert sample.image.shape == (1, 64, 64, 64)
    assert sample.coordinates.abs().max() > 1
    beyond = (sample.coordinates.abs() > 1.2).any(0)
    np.testing.assert_allclose(sample.image[0][beyond], AIR, atol=1e-6)
    assert (sample.anatomy[beyond] == 0).all()


@given(st.tuples(*[st.integers(3, 40)] * 3), st.integers(4, 24))
def test_resizing_keeps_a_constant(shape, size):
    assert (resize(np.full(shape, -77, np.int16), size) == -77).all()
    assert (resize_labels(np.full(shape, 5, np.uint8), size) == 5).all()


def test_halving_is_the_mean_of_eight_voxels_at_any_hu():
    hu = np.random.default_rng(0).integers(-32768, 32768, (6, 8, 10)).astype(np.int16)
    pooled = torch.nn.functional.avg_pool3d(torch.from_numpy(hu.astype(np.float64))[None], 2)[0]
    np.testing.assert_allclose(halve(hu), pooled.numpy(), rtol=1e-6)
