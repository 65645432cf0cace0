"""Lesions drawn by a model that knows what healthy tissue and lesions look like."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from meddiff.anatomy.labels import BODY
from meddiff.config import (
    MODEL_REGIONS,
    DiffusionConfig,
    LesionsConfig,
    MachineConfig,
    Region,
    SamplingConfig,
    WindowsConfig,
)
from meddiff.diffusion.sliding import Condition, Place, SlidingWindows
from meddiff.errors import CaseError
from meddiff.tasks.lesions import LesionView, blend_share, generate, inpaint_lesion, with_lesion
from meddiff.volumes.hu import denormalise
from tests.tasks.healthy import HealthyNetwork

WINDOW = WindowsConfig().chest
LUNG, LESION = -0.4, 0.3
CONFIG = LesionsConfig(inpainting_steps=4, jump_length=2, resampling=2, margin_mm=4.0)


class LesionNetwork(HealthyNetwork):
    """Knows the value of every label, and that of a lesion wherever the target condition has one."""

    def encode_condition(self, anatomy, coordinates, target):
        return torch.where(target > 0, LESION, super().encode_condition(anatomy, coordinates, target))


class LesionSampler:
    """A `Sampler` of that network."""

    patch_vox = HealthyNetwork.config.patch_vox

    def __init__(self, windows_per_batch=4):
        self.network = LesionNetwork([LUNG] * 119)
        self.config = SamplingConfig(bfloat16=False, steps=3)
        self.machine = MachineConfig(windows_per_batch=windows_per_batch)

    def windows(self, anatomy_zyx, region, seed=0, place=None, **target):
        condition = Condition(torch.from_numpy(anatomy_zyx), MODEL_REGIONS.index(region), place, **target)
        return SlidingWindows([self.network], DiffusionConfig(), condition, self.config, seed, self.machine)


@pytest.fixture
def view():
    """A lung of noise with a small lesion to be drawn, away from the middle."""
    rng = np.random.default_rng(0)
    hu = denormalise(rng.normal(LUNG, 0.1, (40, 30, 50)), WINDOW)
    hu[0] = 3000  # metal, far outside of the window
    lesion = np.zeros(hu.shape, bool)
    lesion[8:12, 6:10, 30:35] = True
    return LesionView(hu, np.full(hu.shape, 10, np.uint8), Region.CHEST, WINDOW, 2.0, lesion, Place((0,) * 3, hu.shape))


def near(hu, scaled):
    return np.abs(hu.astype(float) - denormalise(np.array(scaled), WINDOW)).max() <= 2


def test_a_generated_lesion_has_the_values_of_its_class_and_the_rest_those_of_the_organ(view):
    drawn = generate(LesionSampler(), view, 0, "test")
    assert near(drawn[view.lesion_zyx], LESION)
    assert near(drawn[~view.lesion_zyx], LUNG)


def test_a_lesion_in_a_healthy_organ_is_labelled_as_no_organ(view):
    """A model that has learnt of lesions in soft tissue alone draws one there, whatever the target says."""
    sampler = LesionSampler()
    sampler.network = HealthyNetwork([LUNG] * BODY + [LESION])
    told = replace(view, anatomy_zyx=with_lesion(view.anatomy_zyx, view.lesion_zyx))
    for draw in (lambda v: generate(sampler, v, 0, "test"), lambda v: inpaint_lesion(sampler, v, CONFIG, 0, "test")):
        assert near(draw(told)[view.lesion_zyx], LESION)
        assert not near(draw(view)[view.lesion_zyx], LESION)


def test_outside_of_the_body_a_lesion_has_no_label():
    anatomy, lesion = np.array([0, 0, 10, 10], np.uint8), np.array([False, True, True, False])
    found = with_lesion(anatomy, lesion)
    assert found.tolist() == [0, 0, BODY, 10]
    assert found.dtype == np.uint8


def test_an_inpainted_lesion_has_the_values_of_its_class(view):
    assert near(inpaint_lesion(LesionSampler(), view, CONFIG, 0, "test")[view.lesion_zyx], LESION)


def test_beyond_the_margin_an_inpainted_scan_is_bit_identical(view):
    result = inpaint_lesion(LesionSampler(), view, CONFIG, 0, "test")
    beyond = blend_share(view.lesion_zyx, CONFIG.margin_mm / view.spacing_mm) == 0
    assert 0 < (~beyond).sum() < 1500
    np.testing.assert_array_equal(result[beyond], view.hu_zyx[beyond])
    assert (result[~beyond] != view.hu_zyx[~beyond]).mean() > 0.9


def test_the_blend_is_full_in_the_lesion_and_ends_with_the_margin():
    lesion = np.zeros((11, 11, 11), bool)
    lesion[5, 5, 5] = True
    share = blend_share(lesion, 3.0)
    assert share[5, 5, 5] == 1
    np.testing.assert_allclose(share[5, 5, 5:], [1, 0.75, 0.5, 0.25, 0, 0])
    assert (blend_share(lesion, 0.0) == lesion).all()


def test_the_batching_of_windows_does_not_matter(view):
    one, many = (inpaint_lesion(LesionSampler(n), view, CONFIG, 0, "test") for n in (1, 8))
    np.testing.assert_array_equal(one, many)


def test_a_patch_lies_around_its_lesion_and_knows_its_place(view):
    patch = view.patch((slice(8, 12), slice(6, 10), slice(30, 35)), 16)
    assert patch.place == Place((2, 0, 24), view.hu_zyx.shape)
    np.testing.assert_array_equal(patch.hu_zyx, view.hu_zyx[2:18, 0:16, 24:40])
    assert patch.lesion_zyx.sum() == view.lesion_zyx.sum()


def test_a_patch_that_reaches_beyond_the_region_has_air_there(view):
    patch = view.patch((slice(0, 2), slice(6, 10), slice(30, 35)), 16)
    assert patch.place.offset_zyx == (-7, 0, 24)
    assert (patch.hu_zyx[:7] == -1000).all()
    assert (patch.anatomy_zyx[:7] == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda view: (np.zeros_like(view.lesion_zyx), view.anatomy_zyx), "has no lesion in the chest"),
        (lambda view: (view.lesion_zyx, np.zeros_like(view.anatomy_zyx)), "outside of the body"),
    ],
)
def test_a_lesion_that_cannot_be_drawn_is_refused(view, change, words):
    lesion, anatomy = change(view)
    with pytest.raises(CaseError, match=words):
        LesionView(view.hu_zyx, anatomy, view.region, view.window, view.spacing_mm, lesion, view.place)
