"""A whole scan as its regions: every slice is in one, and the regions are those of training."""

import numpy as np
import pytest

from meddiff.anatomy.labels import BODY
from meddiff.anatomy.parts import split_scan
from meddiff.anatomy.regions import find_regions
from meddiff.config import Region, RegionsConfig
from meddiff.errors import CaseError
from tests.conftest import SPACING_MM

CONFIG = RegionsConfig(min_organ_ml=50)


def trunk(labels_zyx):
    """From the thighs to the neck."""
    head = find_regions(labels_zyx, SPACING_MM, Region.WHOLE_BODY, CONFIG)[0]
    assert head.region == Region.HAN
    return labels_zyx[: head.start_zyx[0]]


def test_a_trunk_is_an_abdomen_below_a_chest_and_every_slice_is_in_one_of_them(labels_zyx):
    scan = trunk(labels_zyx)
    boxes = {box.region: box for box in find_regions(scan, SPACING_MM, Region.WHOLE_BODY, CONFIG)}
    parts = split_scan(scan, SPACING_MM, Region.WHOLE_BODY, CONFIG)
    assert [part.box.region for part in parts] == [Region.ABDOMEN, Region.CHEST]
    owners = np.zeros(len(scan), int)
    for part in parts:
        owners[part.first : part.last] += 1
        known = boxes[part.box.region]
        low, high = part.box.start_zyx[0], part.box.stop_zyx[0]
        assert low <= known.start_zyx[0] < known.stop_zyx[0] <= high  # the region as it is in training, and more
        assert scan[part.box.slices][part.own_of_box].shape == scan[part.own].shape
        assert (scan[low:high] == BODY).sum() == (scan[part.box.slices] == BODY).sum()
    assert (owners == 1).all()
    below, above = parts
    assert boxes[Region.CHEST].start_zyx[0] <= below.last <= boxes[Region.ABDOMEN].stop_zyx[0]
    assert (below.first, above.last) == (0, len(scan))


def test_a_scan_that_shows_one_region_or_whose_region_is_known_is_one_part(labels_zyx):
    scan = trunk(labels_zyx)
    abdomen = next(b for b in find_regions(scan, SPACING_MM, Region.WHOLE_BODY, CONFIG) if b.region == Region.ABDOMEN)
    (part,) = split_scan(scan[: abdomen.stop_zyx[0]], SPACING_MM, Region.WHOLE_BODY, CONFIG)
    assert (part.box.region, part.first, part.last) == (Region.ABDOMEN, 0, abdomen.stop_zyx[0])
    (part,) = split_scan(scan, SPACING_MM, Region.CHEST, CONFIG)
    assert (part.box.region, part.first, part.last) == (Region.CHEST, 0, len(scan))


def test_a_scan_without_a_complete_region_is_refused(labels_zyx):
    with pytest.raises(CaseError, match="no complete region in the scan"):
        split_scan(np.full((10, 10, 10), BODY, np.uint8), SPACING_MM, Region.WHOLE_BODY, CONFIG)
    with pytest.raises(CaseError, match="no chest in the scan"):
        split_scan(np.zeros((10, 10, 10), np.uint8), SPACING_MM, Region.CHEST, CONFIG)
