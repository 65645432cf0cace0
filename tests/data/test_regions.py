"""The region split on phantoms: whole, cut and with missing landmarks."""

import numpy as np
import pytest

from meddiff.config import Region, RegionsConfig
from meddiff.data.anatomy.labels import CLASS_IDS, LUNG, ids
from meddiff.data.regions import find_regions

SPACING_MM = 6.0
CONFIG = RegionsConfig(min_organ_ml=50)


def split(labels, region=Region.WHOLE_BODY):
    return {box.region: box for box in find_regions(labels, SPACING_MM, region, CONFIG)}


def without(labels, *names):
    return np.where(np.isin(labels, ids(*names)), 118, labels)


def extent(labels, *names):
    planes = np.flatnonzero(np.isin(labels, ids(*names)).any((1, 2)))
    return planes[0], planes[-1] + 1


def test_a_whole_body_splits_into_three(labels_zyx):
    boxes = split(labels_zyx)
    assert set(boxes) == {Region.HAN, Region.CHEST, Region.ABDOMEN}
    margin = round(CONFIG.margin_mm / SPACING_MM)
    lungs, liver = extent(labels_zyx, *LUNG), extent(labels_zyx, "liver")
    chest, abdomen, head = boxes[Region.CHEST], boxes[Region.ABDOMEN], boxes[Region.HAN]
    assert (chest.start_zyx[0], chest.stop_zyx[0]) == (lungs[0] - margin, lungs[1] + margin)
    assert abdomen.start_zyx[0] == extent(labels_zyx, "vertebrae_L5")[0]
    assert abdomen.stop_zyx[0] == liver[1] + margin
    assert head.start_zyx[0] == extent(labels_zyx, "vertebrae_C7")[0]
    assert head.stop_zyx[0] == len(labels_zyx)


def test_every_box_holds_its_body_with_a_margin(labels_zyx):
    for box in split(labels_zyx).values():
        window = tuple(slice(a, b) for a, b in zip(box.start_zyx, box.stop_zyx, strict=True))
        slab = labels_zyx[window[0]] > 0
        assert (labels_zyx[window] > 0).sum() == slab.sum()


def test_organs_stand_in_for_missing_vertebrae(labels_zyx):
    vertebrae = [name for name in CLASS_IDS if name.startswith("vertebrae_")]
    boxes = split(without(labels_zyx, *vertebrae))
    assert set(boxes) == {Region.HAN, Region.CHEST, Region.ABDOMEN}
    assert boxes[Region.ABDOMEN].start_zyx[0] == extent(labels_zyx, "sacrum")[0]
    assert "sacrum" in boxes[Region.ABDOMEN].evidence


@pytest.mark.parametrize(("missing", "lost"), [(LUNG, Region.CHEST), (("liver",), Region.ABDOMEN)])
def test_a_region_without_its_organ_is_not_made(labels_zyx, missing, lost):
    assert lost not in split(without(labels_zyx, *missing))


def test_a_scan_that_cuts_the_lungs_in_half_has_no_chest(labels_zyx):
    low, high = extent(labels_zyx, *LUNG)
    boxes = split(labels_zyx[: (low + high) // 2])
    assert set(boxes) == {Region.ABDOMEN}


def test_no_head_lies_beside_lungs(labels_zyx):
    low, high = extent(labels_zyx, *LUNG)
    misread = without(labels_zyx, "brain", "skull")
    chest_wall = misread[low:high]
    chest_wall[chest_wall == 118] = ids("brain")[0]
    assert set(split(misread)) == {Region.CHEST, Region.ABDOMEN}


def test_specks_of_another_label_do_not_move_the_box(labels_zyx):
    dirty = labels_zyx.copy()
    dirty[1, 20:22, 20:22] = CLASS_IDS["lung_upper_lobe_left"]
    assert split(dirty)[Region.CHEST].start_zyx[0] == split(labels_zyx)[Region.CHEST].start_zyx[0]


def test_a_known_region_keeps_its_whole_length(labels_zyx):
    (box,) = find_regions(labels_zyx, SPACING_MM, Region.ABDOMEN, CONFIG)
    assert (box.start_zyx[0], box.stop_zyx[0]) == (0, len(labels_zyx))


def test_air_has_no_region():
    assert find_regions(np.zeros((10, 10, 10), np.uint8), SPACING_MM, Region.CHEST, CONFIG) == []
