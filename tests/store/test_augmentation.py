"""Variation of training samples: of no strength it changes nothing; what it does, image, labels, coordinates show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from meddiff.anatomy.labels import BODY, CLASS_IDS
from meddiff.config import AugmentationConfig, LevelWeights, Region
from meddiff.store.augmentation import (
    ENHANCING,
    GROUP_OF_LABEL,
    MIRRORED_LABELS,
    Augmented,
    Shape,
    augmented,
    cut_shaped,
    vary_contrast,
)
from meddiff.store.patches import LEVELS, Crop, PatchDataset, cut, draw, random_corner
from meddiff.store.record import resize, resize_labels
from meddiff.volumes.hu import air_scaled, denormalise, normalise

from .test_patches import coordinates_to_voxel

PATCH = 16
STILL = AugmentationConfig(share=1, size=0, roll_degrees=0, displacement_mm=0, contrast=0, mirrored_heads=0)
STRONG = AugmentationConfig(share=1, size=0.2, roll_degrees=15, displacement_mm=6, contrast=0.3)


class Stored:
    """A region in memory, with what `Record` has."""

    def __init__(self, record, hu_zyx, labels_zyx, **meta):
        self.meta = replace(record.meta, size_zyx=hu_zyx.shape, **meta)
        self.ct, self.anatomy = hu_zyx, labels_zyx
        self.image_ct, self.image_anatomy = resize(hu_zyx, PATCH), resize_labels(labels_zyx, PATCH)


@pytest.fixture
def ramp(record):
    """HU that tell the place along x, in a box of body."""
    hu = np.broadcast_to((10 * np.arange(40) - 300).astype(np.int16), (36, 38, 40)).copy()
    return Stored(record, hu, np.full(hu.shape, BODY, np.uint8))


@pytest.mark.parametrize("level", LEVELS)
def test_without_strength_a_sample_is_as_it_would_be(record, level):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shape = Shape.random(record, STILL, rng)
        corner = [2, 4, 6] if level == "double" else random_corner(shape.size_zyx, level, PATCH, rng)
        assert shape.size_zyx == record.meta.size_zyx
        crop = Crop(level, PATCH, corner)
        got, plain = cut_shaped(record, crop, shape, rng, 3), cut(record, crop, 3)
        inside = torch.ones((PATCH,) * 3, dtype=torch.bool)
        if level == "double":  # pairs of voxels that cross the region's end are half of a voxel apart
            place = coordinates_to_voxel(plain.coordinates, record.meta.size_zyx)
            inside = torch.from_numpy(np.all([p < n - 1.5 for p, n in zip(place, shape.size_zyx, strict=True)], axis=0))
        assert inside.sum() > PATCH**3 / 4
        torch.testing.assert_close(got.image[0][inside], plain.image[0][inside], atol=2e-3, rtol=0)
        assert torch.equal(got.anatomy[inside], plain.anatomy[inside])
        torch.testing.assert_close(got.coordinates, plain.coordinates)
        assert (got.region, got.level, got.record) == (plain.region, plain.level, plain.record)
        varied = vary_contrast(got, record.meta.window, 0.0, rng)
        assert torch.equal(varied.image, got.image)


def test_off_is_the_plain_draw():
    assert augmented(AugmentationConfig()) is draw
    assert augmented(STRONG) == Augmented(STRONG)


@pytest.mark.parametrize("level", LEVELS)
def test_a_larger_body_shows_its_content_at_the_same_coordinates(ramp, level):
    """Size alone changes the step of the coordinates, so HU that tell the place tell the coordinates, too."""
    config = STILL.model_copy(update={"size": 0.2})
    sizes = set()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shape = Shape.random(ramp, config, rng)
        sizes.add(shape.size_zyx)
        corner = [0, 0, 0] if level == "image" else [3, 3, 3]
        sample = cut_shaped(ramp, Crop(level, PATCH, corner), shape, rng)
        hu = sample.image[0].numpy() * 900 - 500
        # Eq. 3 is about centres of voxels; edges stay on edges, so a coordinate moves by less than half a voxel
        place = (hu + 300) / 10
        expected = coordinates_to_voxel(sample.coordinates, ramp.meta.size_zyx)[2]
        inner = (sample.anatomy.numpy() > 0) & (expected > 1.5) & (expected < 37.5)
        assert inner.sum() > 1000
        np.testing.assert_allclose(place[inner], expected[inner], atol=0.6)
    assert len(sizes) == 6


@pytest.mark.parametrize("level", LEVELS)
def test_a_roll_turns_image_and_labels_alike(record, level):
    """Everywhere, the image is what the labels say: HU were made of labels."""
    hu_of = np.random.default_rng(0).integers(-900, 300, BODY + 1).astype(np.int16)
    labels = np.zeros((32, 36, 40), np.uint8)
    labels[4:28, 6:30, 8:32] = BODY
    labels[10:22, 12:20, 10:20] = CLASS_IDS["liver"]
    stored = Stored(record, hu_of[labels], labels)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shape = Shape.random(stored, STRONG, rng)
        corner = random_corner(shape.size_zyx, level, PATCH, rng)
        sample = cut_shaped(stored, Crop(level, PATCH, corner), shape, rng)
        got, seen = denormalise(sample.image[0].numpy(), record.meta.window), sample.anatomy.numpy()
        assert set(np.unique(seen)) <= {0, BODY, CLASS_IDS["liver"]}
        place = coordinates_to_voxel(sample.coordinates, shape.size_zyx)
        core = np.all([(p > -0.4) & (p < n - 0.6) for p, n in zip(place, shape.size_zyx, strict=True)], axis=0)
        for label in np.unique(seen):  # away from the borders of a label
            inner = ndimage.binary_erosion(seen == label, np.ones((3, 3, 3)), 2) & core
            assert np.abs(got[inner].astype(int) - hu_of[label]).max(initial=0) <= 1


def test_beyond_the_varied_region_there_is_air(record):
    config = STRONG.model_copy(update={"contrast": 0})
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shape = Shape.random(record, config, rng)
        sample = cut_shaped(record, Crop("patch", PATCH, [-5, -6, -7]), shape, rng)
        place = coordinates_to_voxel(sample.coordinates, shape.size_zyx)
        outside = torch.from_numpy(np.any([p < -0.5 for p in place], axis=0))
        assert outside.sum() > 1000
        torch.testing.assert_close(
            sample.image[0][outside], torch.tensor(air_scaled(record.meta.window)).expand(outside.sum())
        )
        assert not sample.anatomy[outside].any()


def test_a_head_changes_sides_with_its_labels_and_a_chest_does_not(record):
    hu = np.random.default_rng(0).integers(-100, 200, (20, 20, 20)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[..., :10], labels[..., 10:] = CLASS_IDS["clavicula_right"], CLASS_IDS["clavicula_left"]
    config = STILL.model_copy(update={"mirrored_heads": 1.0})
    for region in (Region.HAN, Region.CHEST):
        stored = Stored(record, hu, labels, region=region)
        rng = np.random.default_rng(0)
        sample = cut_shaped(stored, Crop("patch", PATCH, [2, 2, 2]), Shape.random(stored, config, rng), rng)
        assert torch.equal(sample.anatomy, torch.from_numpy(labels[2:18, 2:18, 2:18]))  # right stays to the right
        expected = hu[..., ::-1] if region == Region.HAN else hu
        scaled = normalise(expected[2:18, 2:18, 2:18], record.meta.window)
        np.testing.assert_allclose(sample.image[0].numpy(), scaled, atol=1e-3)


def test_other_sides_are_of_the_same_structure():
    names = ["outside", *CLASS_IDS, "body"]
    for index, other in enumerate(MIRRORED_LABELS):
        assert MIRRORED_LABELS[other] == index
        assert names[other].replace("right", "left") == names[index].replace("right", "left")
    assert names[MIRRORED_LABELS[CLASS_IDS["rib_left_7"]]] == "rib_right_7"


def test_contrast_medium_moves_organs_alone_and_keeps_their_noise(record):
    rng = np.random.default_rng(0)
    hu = rng.normal(50, 10, (PATCH,) * 3)
    labels = np.full(hu.shape, BODY, np.uint8)
    labels[4:12, 4:12, 4:12] = CLASS_IDS["liver"]
    hu[labels == CLASS_IDS["liver"]] += 60
    hu[4:6, 4:12, 4:12] = -90  # fat that is taken for liver
    stored = Stored(record, hu.round().astype(np.int16), labels)
    sample = cut(stored, Crop("patch", PATCH))
    factors = np.exp(0.3 * np.random.default_rng(5).standard_normal(len(ENHANCING)))
    varied = vary_contrast(sample, record.meta.window, 0.3, np.random.default_rng(5))
    change = (varied.image - sample.image)[0].numpy() * 900
    inner = change[8:11, 5:11, 5:11]
    expected = (factors[ENHANCING.index(("liver",))] - 1) * (110 - 40)
    np.testing.assert_allclose(inner, expected, atol=3)
    assert np.ptp(inner) < 0.01
    assert np.abs(change[:3]).max() == 0
    assert np.abs(change[4, 5:11, 5:11]).max() < 1e-3
    assert torch.equal(varied.anatomy, sample.anatomy)


def test_what_the_window_clips_and_what_is_too_small_keep_their_hu(record):
    labels = np.zeros((PATCH,) * 3, np.uint8)
    labels[:8], labels[10:12, 2:5, 2:5] = CLASS_IDS["aorta"], CLASS_IDS["spleen"]
    hu = np.where(labels == CLASS_IDS["aorta"], 400, 120).astype(np.int16)
    sample = cut(Stored(record, hu, labels), Crop("patch", PATCH))
    assert torch.equal(vary_contrast(sample, record.meta.window, 0.5, np.random.default_rng(0)).image, sample.image)


def test_every_group_has_labels_of_its_own():
    for number, names in enumerate(ENHANCING, start=1):
        assert {GROUP_OF_LABEL[CLASS_IDS[name]] for name in names} == {number}
    assert GROUP_OF_LABEL[[0, BODY, CLASS_IDS["skull"]]].tolist() == [0, 0, 0]


def test_samples_depend_on_seed_and_number_alone_and_the_share_is_kept(record):
    def make(seed, share=0.5):
        config = STRONG.model_copy(update={"share": share})
        return PatchDataset([record], LevelWeights(), PATCH, seed, 400, augmented(config))

    first, second = make(0), make(0)
    _ = [second[i] for i in (5, 1, 9)]
    for number in (0, 3, 9):
        assert torch.equal(first[number].image, second[number].image)
        assert torch.equal(first[number].anatomy, second[number].anatomy)
        assert torch.equal(first[number].coordinates, second[number].coordinates)
    assert not torch.equal(first[3].image, make(1)[3].image)
    never, always = make(0, 1e-9), make(0, 1.0)
    alike = [torch.equal(never[i].coordinates, first[i].coordinates) for i in range(150)]
    assert 0.35 < np.mean(alike) < 0.65
    assert not any(torch.equal(never[i].coordinates, always[i].coordinates) for i in range(10) if never[i].level)
