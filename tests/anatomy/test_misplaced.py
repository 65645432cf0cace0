"""Structures that cannot lie in a region."""

import numpy as np
import pytest

from meddiff.anatomy.labels import BODY, CLASS_IDS
from meddiff.anatomy.misplaced import MISPLACED, replace_misplaced
from meddiff.config import MODEL_REGIONS, Region
from meddiff.demo.train_weights import TRAINED

BRAIN, LIVER, LUNG = (CLASS_IDS[name] for name in ("brain", "liver", "lung_upper_lobe_left"))


def head():
    """A brain in a body in air, along x."""
    labels = np.zeros((5, 5, 20), np.uint8)
    labels[..., 4:16] = BODY
    labels[..., 6:14] = BRAIN
    return labels


def test_a_liver_in_a_brain_is_brain_and_lungs_in_the_air_are_air():
    labels, misread = head(), head()
    misread[2:4, 2:4, 9:12] = LIVER
    misread[..., :3] = LUNG
    np.testing.assert_array_equal(replace_misplaced(misread, Region.HAN, "demo"), labels)


@pytest.mark.parametrize("region", MODEL_REGIONS)
def test_what_can_lie_in_the_region_stays(region):
    possible = [i for name, i in CLASS_IDS.items() if name not in MISPLACED[region]]
    labels = np.random.default_rng(0).choice(np.array([0, BODY, *possible], np.uint8), (8, 9, 10))
    np.testing.assert_array_equal(replace_misplaced(labels, region, "demo"), labels)


@pytest.mark.parametrize("region", MODEL_REGIONS)
def test_nothing_impossible_is_left(region):
    labels = np.random.default_rng(1).integers(0, BODY + 1, (8, 9, 10)).astype(np.uint8)
    left = set(np.unique(replace_misplaced(labels, region, "demo")).tolist())
    assert not left & {CLASS_IDS[name] for name in MISPLACED[region]}


def test_the_organs_that_define_a_region_are_possible_there():
    needed = {
        Region.HAN: ("brain", "skull", "vertebrae_C7", "vertebrae_T6"),  # T6 is the demo weights' name for T1, too
        Region.CHEST: ("lung_upper_lobe_left", "heart", "liver", "kidney_left", "vertebrae_L3", "vertebrae_C7"),
        Region.ABDOMEN: ("liver", "lung_lower_lobe_left", "vertebrae_L5", "sacrum", "heart", "femur_left"),
    }
    for region, names in needed.items():
        assert not set(names) & set(MISPLACED[region])
        assert set(names) <= set(TRAINED) | set(CLASS_IDS)


def test_a_region_of_nothing_but_impossible_labels_is_left_as_it_is():
    labels = np.full((3, 3, 3), LIVER, np.uint8)
    np.testing.assert_array_equal(replace_misplaced(labels, Region.HAN, "demo"), labels)


def test_labels_of_the_official_weights_stay():
    labels = head()
    labels[..., :3] = LUNG
    np.testing.assert_array_equal(replace_misplaced(labels, Region.HAN, "official"), labels)
