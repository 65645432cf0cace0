"""Coarse to fine on data whose best estimate is known at every level, beside windows at the level of patches alone."""

import pytest

from meddiff.config import CoarseToFineConfig, SamplingConfig

from .windowed_field import FewSteps, measured


@pytest.fixture(scope="module")
def patches_alone():
    return measured(SamplingConfig(bfloat16=False, overlap=0.25))


def test_coarse_to_fine_draws_the_long_waves_that_patches_alone_do_not_agree_on(patches_alone):
    (long, *rest), seams, windows = measured(SamplingConfig(bfloat16=False, sampler="coarse-to-fine"))
    assert patches_alone[0][0] < 0.88
    assert long == pytest.approx(1, abs=0.08)
    assert rest == pytest.approx([1, 1, 1], abs=0.25)  # few steps leave out some of what is fine
    assert seams < 1.15
    assert windows < 0.6 * patches_alone[2]


def test_steps_at_the_level_of_patches_decide_what_is_fine():
    fine = [
        measured(
            SamplingConfig(
                bfloat16=False, sampler="coarse-to-fine", coarse_to_fine=CoarseToFineConfig(patch_steps=steps)
            )
        )[0][-1]
        for steps in (2, 4, 8)
    ]
    assert fine == sorted(fine)
    assert fine[0] < 0.75 < fine[1]


def test_a_few_step_model_keeps_what_is_fine_and_one_of_its_steps_does_for_patches():
    few = {"solver": "ddim", "spacing": "trailing", "steps": 2}  # the recipe of a bundle of two steps
    config = SamplingConfig(bfloat16=False, sampler="coarse-to-fine").model_copy(update=few)
    bands, seams, windows = measured(config, seeds=2, network=FewSteps(2))
    assert bands == pytest.approx([1] * 4, abs=0.12)
    assert seams < 1.1
    assert windows == 2 * 1 + 1 * 27 + 1 * 125  # each level begins with the timestep whose noise is nearest
