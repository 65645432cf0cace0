"""Patches around lesions: the whole lesion is in them, and the target lies where the coordinates say."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddiff.config import AugmentationConfig
from meddiff.store.lesion_patches import (
    AroundLesions,
    centred_corner,
    lesion_boxes,
    lesion_target,
)
from meddiff.store.patches import Crop, cut
from meddiff.store.record import Record, resize_labels, resize_mask
from tests.conftest import make_record
from tests.store.test_patches import coordinates_to_voxel

PATCH = 16
CROP = {"patch": 16, "double": 32}
SIZE = (55, 50, 67)  # of the chest of `make_record`


def mask_of(*boxes, size=SIZE):
    lesion = np.zeros(size, np.uint8)
    for start, extent in boxes:
        lesion[tuple(slice(s, s + n) for s, n in zip(start, extent, strict=True))] = 1
    return lesion


def with_lesion(record, lesion):
    """Return the record with other lesions, which are its anatomy too."""
    return type("Altered", (Record,), {"lesion": lesion, "anatomy": lesion})(record.folder)


def drawn(record, level, count, seed=0):
    around = AroundLesions([record], PATCH)
    rng = np.random.default_rng(seed)
    return [around(record, level, PATCH, rng) for _ in range(count)]


def first_voxels(sample, level):
    """Return, of each patch voxel, the first of the region's voxels that it stands for, (3, P, P, P)."""
    index = coordinates_to_voxel(sample.coordinates, SIZE) - (CROP[level] / PATCH - 1) / 2
    np.testing.assert_allclose(index, np.round(index), atol=1e-3)
    return np.round(index).astype(int)


def expected_target(sample, level, lesion):
    """Return where one of the voxels that a patch voxel stands for is lesion."""
    found = np.zeros((PATCH,) * 3, bool)
    for offset in itertools.product(range(CROP[level] // PATCH), repeat=3):
        index = first_voxels(sample, level) + np.array(offset)[:, None, None, None]
        inside = np.all([(index[a] >= 0) & (index[a] < SIZE[a]) for a in range(3)], axis=0)
        found[inside] |= lesion[tuple(index[:, inside])] > 0
    return found


BOXES = [
    ((20, 20, 20), (1, 1, 1)),
    ((0, 0, 0), (5, 4, 7)),
    ((49, 39, 58), (6, 11, 9)),
    ((21, 17, 30), (16, 15, 16)),
]


@pytest.mark.parametrize("level", ["patch", "double"])
@pytest.mark.parametrize("box", BOXES)
def test_every_patch_contains_the_whole_lesion(record, level, box):
    lesion = mask_of(box)
    voxels = np.argwhere(lesion)
    for sample in drawn(with_lesion(record, lesion), level, 12):
        start = first_voxels(sample, level)[:, 0, 0, 0]
        assert (voxels >= start).all()
        assert (voxels < start + CROP[level]).all()
        np.testing.assert_array_equal(sample.target[0].numpy(), expected_target(sample, level, lesion))


@pytest.mark.parametrize("box", BOXES)
def test_the_whole_region_shows_the_lesion_where_its_coordinates_say(record, box):
    lesion = mask_of(box)
    (sample,) = drawn(with_lesion(record, lesion), "image", 1)
    target, index = sample.target[0].numpy(), coordinates_to_voxel(sample.coordinates, SIZE)
    axes = [index[0][:, 0, 0], index[1][0, :, 0], index[2][0, 0, :]]
    for voxel in np.argwhere(lesion):
        assert target[tuple(np.abs(axis - v).argmin() for axis, v in zip(axes, voxel, strict=True))] == 1
    reach = np.array(SIZE) / PATCH / 2 + 0.5  # of a patch voxel that overlaps a voxel
    start, stop = np.array(box[0]), np.array(box[0]) + box[1] - 1
    for place in index[:, target > 0].T:
        assert ((place > start - reach) & (place < stop + reach)).all()


def test_the_target_of_a_stored_record_is_its_lesion(tmp_path):
    lesion = mask_of(*BOXES)
    record = make_record(tmp_path / "stored", seed=3, lesion_zyx=lesion)
    for level in CROP:
        for sample in drawn(record, level, 5):
            assert sample.target.shape == (1, PATCH, PATCH, PATCH)
            np.testing.assert_array_equal(sample.target[0].numpy(), expected_target(sample, level, lesion))


@pytest.mark.parametrize("corner", [[3, 8, 21], [-6, 40, -3]])
def test_the_target_lies_as_the_anatomy_does(record, corner):
    labelled = with_lesion(record, (np.random.default_rng(0).random(SIZE) < 0.1).astype(np.uint8))
    target = lesion_target(labelled, Crop("patch", PATCH, corner))
    sample = cut(labelled, Crop("patch", PATCH, corner), target=target)
    assert sample.anatomy.any()
    assert torch.equal(sample.target[0], sample.anatomy.float())


def test_lesions_lie_up_to_a_quarter_of_the_patch_from_its_middle(record):
    lesion = mask_of(((20, 20, 20), (3, 4, 5)))
    for level, crop in CROP.items():
        starts = [first_voxels(s, level)[:, 0, 0, 0] for s in drawn(with_lesion(record, lesion), level, 60)]
        away = np.array([21.5, 22.0, 22.5]) - (np.array(starts) + crop / 2)
        assert np.abs(away).max() <= crop / 4 + 0.5
        assert (away.max(0) > crop / 4 - 1.5).all()
        assert (away.min(0) < 1.5 - crop / 4).all()


def test_lesions_larger_than_the_patch_are_counted(record):
    lesion = mask_of(((2, 2, 2), (16, 16, 16)), ((25, 3, 5), (17, 1, 1)), ((5, 30, 40), (3, 3, 20)))
    around = AroundLesions([with_lesion(record, lesion)], PATCH)
    assert (around.lesions, around.larger_than_patch) == (3, 2)


def test_a_patch_of_a_larger_lesion_has_a_voxel_of_it_in_its_middle_and_all_parts_are_shown(record):
    """A thin frame, whose box is empty in the middle."""
    lesion = mask_of(((10, 10, 10), (1, 30, 40)))
    lesion[10, 12:38, 12:48] = 0
    starts = []
    for sample in drawn(with_lesion(record, lesion), "patch", 60):
        assert sample.target[0, 8, 8, 8] == 1
        np.testing.assert_array_equal(sample.target[0].numpy(), expected_target(sample, "patch", lesion))
        starts.append(first_voxels(sample, "patch")[:, 0, 0, 0])
    assert (np.ptp(starts, axis=0)[1:] > (20, 30)).all()


def test_a_lesion_larger_than_the_patch_that_fits_the_double_crop_is_whole_there(record):
    lesion = mask_of(((10, 10, 10), (20, 25, 32)))
    for sample in drawn(with_lesion(record, lesion), "double", 8):
        assert sample.target.sum() >= 10 * 13 * 16
        start = first_voxels(sample, "double")[:, 0, 0, 0]
        assert (start <= 10).all()
        assert (start + 32 >= (30, 35, 42)).all()


def test_each_lesion_is_drawn_as_often_whatever_its_size(record):
    lesion = mask_of(((2, 2, 2), (1, 1, 1)), ((24, 20, 30), (5, 5, 5)), ((40, 36, 52), (12, 12, 12)))
    voxels = [int(sample.target.sum()) for sample in drawn(with_lesion(record, lesion), "patch", 240)]
    assert set(voxels) == {1, 125, 1728}
    assert all(55 <= voxels.count(n) <= 105 for n in (1, 125, 1728))


def test_the_random_numbers_decide(record):
    labelled = with_lesion(record, mask_of(BOXES[0]))
    first, same, other = (drawn(labelled, "patch", 1, seed)[0].coordinates for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_lesions_that_touch_at_a_corner_are_one():
    lesion = mask_of(((2, 2, 2), (2, 2, 2)), ((4, 4, 4), (1, 1, 1)), ((8, 8, 8), (1, 2, 3)), size=(12, 12, 12))
    found = {tuple((s.start, s.stop) for s in box) for box in lesion_boxes(lesion)}
    assert found == {((2, 5),) * 3, ((8, 9), (8, 10), (8, 11))}


@given(st.tuples(*[st.integers(-5, 60)] * 3), st.tuples(*[st.integers(1, 40)] * 3), st.integers(1, 64))
def test_a_centred_crop_has_as_much_room_on_both_sides(start, extent, crop):
    corner = centred_corner(tuple(slice(s, s + n) for s, n in zip(start, extent, strict=True)), crop)
    for first, s, n in zip(corner, start, extent, strict=True):
        assert abs((s - first) - (first + crop - s - n)) <= 1


@given(
    st.integers(0, 2**32), st.tuples(*[st.integers(2, 30)] * 3), st.integers(4, 24), st.sampled_from([0.0, 0.01, 0.3])
)
def test_a_resized_mask_has_every_lesion_voxel_in_its_place(seed, size, size_vox, share):
    mask = np.random.default_rng(seed).random(size) < share
    small = resize_mask(torch.from_numpy(mask).float(), size_vox).numpy()
    assert small.shape == (size_vox,) * 3
    assert set(np.unique(small)) <= {0, 1}
    assert small.any() == mask.any()
    index = ((np.argwhere(mask) + 0.5) * size_vox / np.array(size)).astype(int)
    assert (small[tuple(index.T)] == 1).all()


@given(st.integers(0, 2**32), st.tuples(*[st.integers(2, 16)] * 3))
def test_a_mask_that_grows_is_resized_as_labels_are(seed, size):
    mask = (np.random.default_rng(seed).random(size) < 0.2).astype(np.uint8)
    grown = resize_mask(torch.from_numpy(mask).float(), 16).numpy()
    np.testing.assert_array_equal(grown, resize_labels(mask, 16))


def test_beyond_the_region_there_is_no_lesion(record):
    labelled = with_lesion(record, np.ones(SIZE, np.uint8))
    target = lesion_target(labelled, Crop("patch", PATCH, [-4, 40, 0]))[0]
    assert target.sum() == 12 * 10 * 16
    assert (target[4:, :10] == 1).all()


@pytest.mark.parametrize("level", ["image", "double", "patch"])
def test_variation_without_strength_draws_the_same_patches(record, level):
    still = AugmentationConfig(share=1, size=0, roll_degrees=0, displacement_mm=0, contrast=0)
    altered = with_lesion(record, mask_of(((8, 10, 12), (6, 4, 8))))
    for seed in range(5):
        plain, varied = (
            around(altered, level, PATCH, np.random.default_rng(seed))
            for around in (AroundLesions([altered], PATCH), AroundLesions([altered], PATCH, still))
        )
        torch.testing.assert_close(varied.coordinates, plain.coordinates)
        torch.testing.assert_close(varied.target, plain.target)
        if level != "double":  # there pairs of voxels that cross the region's end are half of a voxel apart
            torch.testing.assert_close(varied.image, plain.image, atol=2e-3, rtol=0)


def test_a_varied_lesion_is_where_the_varied_anatomy_is(record):
    """The lesion is the anatomy, so the target is what the labels say, and the lesion is in the patch."""
    strong = AugmentationConfig(share=1, size=0.2, roll_degrees=15, displacement_mm=6)
    lesion = mask_of(((8, 10, 12), (4, 4, 5)))
    altered = with_lesion(record, lesion)
    around, seen = AroundLesions([altered], PATCH, strong), set()
    for seed in range(20):
        sample = around(altered, "patch", PATCH, np.random.default_rng(seed))
        assert torch.equal(sample.target[0] > 0, sample.anatomy > 0)
        seen.add(int(sample.target.sum()))
        assert sample.target.sum() > lesion.sum() / 3
    assert len(seen) > 10
