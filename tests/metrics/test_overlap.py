"""Dice."""

import numpy as np
import pytest

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.config import Region
from meddiff.metrics.overlap import dice, organ_dice


def test_dice():
    a = np.array([True, True, False, False])
    assert dice(a, a) == 1
    assert dice(a, ~a) == 0
    assert dice(a, np.array([True, False, False, False])) == pytest.approx(2 / 3)
    assert np.isnan(dice(a & ~a, a & ~a))


def test_lobes_count_as_one_lung_and_small_organs_are_left_out():
    condition = np.zeros((4, 4, 4), np.uint8)
    condition[:2] = CLASS_IDS["lung_upper_lobe_left"]
    condition[3, 3, 3] = CLASS_IDS["aorta"]
    judged = np.zeros_like(condition)
    judged[:2] = CLASS_IDS["lung_lower_lobe_right"]
    scores = organ_dice(condition, judged, Region.CHEST, min_organ_vox=2)
    assert scores["lung"] == 1
    assert np.isnan(scores["aorta"])
    assert np.isnan(scores["heart"])
