"""The region split on phantoms: whole, cut and with missing landmarks."""

import numpy as np
import pytest

from meddiff.anatomy.labels import BODY, CLASS_IDS, LUNG, ids
from meddiff.anatomy.regions import find_regions
from meddiff.config import Region, RegionsConfig
from meddiff.errors import CaseError

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
    assert boxes[Region.ABDOMEN].start_zyx[0] == extent(labels_zyx, "sacrum")[1]
    assert boxes[Region.HAN].start_zyx[0] == extent(labels_zyx, *LUNG)[1]
    assert "sacrum" in boxes[Region.ABDOMEN].evidence
    assert "lung" in boxes[Region.HAN].evidence


@pytest.mark.parametrize(("missing", "lost"), [(LUNG, Region.CHEST), (("liver",), Region.ABDOMEN)])
def test_a_region_without_its_organ_is_not_made(labels_zyx, missing, lost):
    assert lost not in split(without(labels_zyx, *missing))


def test_a_scan_that_cuts_the_lungs_in_half_has_no_chest(labels_zyx):
    low, high = extent(labels_zyx, *LUNG)
    boxes = split(labels_zyx[: (low + high) // 2])
    assert set(boxes) == {Region.ABDOMEN}


def half_way(labels, *names):
    low, high = extent(labels, *names)
    return (low + high) // 2


@pytest.mark.parametrize("padding", [0, 5], ids=["without", "with air beyond the end"])
@pytest.mark.parametrize(
    ("organs", "below", "above"),
    [
        (("liver",), set(), {Region.HAN, Region.CHEST}),
        (LUNG, {Region.ABDOMEN}, {Region.HAN}),
        (("brain", "skull"), {Region.CHEST, Region.ABDOMEN}, set()),
    ],
    ids=["liver", "lungs", "brain"],
)
def test_a_scan_that_ends_in_the_middle_of_an_organ_has_not_its_region(labels_zyx, organs, below, above, padding):
    cut = half_way(labels_zyx, *organs)
    air = ((padding, padding), (0, 0), (0, 0))
    assert set(split(np.pad(labels_zyx[:cut], air))) == below
    assert set(split(np.pad(labels_zyx[cut:], air))) == above


def test_a_scan_that_ends_in_the_neck_has_all_but_the_head(labels_zyx):
    boxes = split(labels_zyx[: half_way(labels_zyx, "vertebrae_C5")])
    assert set(boxes) == {Region.CHEST, Region.ABDOMEN}


def test_a_head_that_begins_in_the_neck_is_kept_from_its_first_plane(labels_zyx):
    head = labels_zyx[half_way(labels_zyx, "vertebrae_C5") :]
    (box,) = split(head).values()
    assert (box.region, box.start_zyx[0], box.stop_zyx[0]) == (Region.HAN, 0, len(head))
    assert box.evidence == "start of the scan to vertex"


def test_a_pelvis_alone_has_no_region(labels_zyx):
    assert split(labels_zyx[: extent(labels_zyx, "vertebrae_L5")[1]]) == {}


def test_an_abdomen_that_begins_above_l4_is_not_kept(labels_zyx):
    assert Region.ABDOMEN in split(labels_zyx[half_way(labels_zyx, "vertebrae_L4") :])
    assert Region.ABDOMEN not in split(labels_zyx[extent(labels_zyx, "vertebrae_L4")[1] :])


def test_one_lung_makes_a_chest(labels_zyx):
    left = ("lung_upper_lobe_left", "lung_lower_lobe_left")
    right = tuple(set(LUNG) - set(left))
    chest = split(without(labels_zyx, *right))[Region.CHEST]
    margin = round(CONFIG.margin_mm / SPACING_MM)
    low, high = extent(labels_zyx, *left)
    assert (chest.start_zyx[0], chest.stop_zyx[0]) == (low - margin, high + margin)


def test_a_scan_that_is_upside_down_is_refused(labels_zyx):
    with pytest.raises(CaseError, match="upside down"):
        split(labels_zyx[::-1])


def test_a_head_below_its_neck_is_not_kept(labels_zyx):
    head = labels_zyx[extent(labels_zyx, "vertebrae_C7")[0] :]
    assert set(split(head)) == {Region.HAN}
    assert split(head[::-1]) == {}


@pytest.mark.parametrize(
    ("vertebra", "region", "where", "instead"),
    [
        ("vertebrae_L5", Region.ABDOMEN, "urinary_bladder", ("sacrum", 1)),
        ("vertebrae_L5", Region.ABDOMEN, "heart", ("sacrum", 1)),
        ("vertebrae_C7", Region.HAN, "liver", ("vertebrae_T1", 1)),
        ("vertebrae_C7", Region.HAN, "skull", ("vertebrae_T1", 1)),
    ],
)
def test_a_vertebra_where_it_cannot_be_is_not_asked(labels_zyx, vertebra, region, where, instead):
    misread = without(labels_zyx, vertebra)
    _, high = extent(labels_zyx, where)
    misread[high - 5 : high, 24:28, 32:36] = CLASS_IDS[vertebra]
    name, end = instead
    assert split(misread)[region].start_zyx[0] == extent(labels_zyx, name)[end]


def test_a_second_piece_of_a_vertebra_does_not_move_the_cut(labels_zyx):
    low, _ = extent(labels_zyx, "vertebrae_L5")
    misread = np.roll(labels_zyx == CLASS_IDS["vertebrae_L5"], -16, 0)
    dirty = np.where(misread, CLASS_IDS["vertebrae_L5"], labels_zyx)
    assert split(dirty)[Region.ABDOMEN].start_zyx[0] == low


def test_a_vertebra_in_two_pieces_is_taken_whole(labels_zyx):
    low, high = extent(labels_zyx, "vertebrae_L5")
    broken = labels_zyx.copy()
    gap = broken[(low + high) // 2]
    gap[gap == CLASS_IDS["vertebrae_L5"]] = BODY
    assert split(broken)[Region.ABDOMEN].start_zyx[0] == low


def test_a_vertebra_as_tall_as_three_is_not_asked(labels_zyx):
    tall = labels_zyx.copy()
    tall[np.isin(tall, ids("vertebrae_L4", "vertebrae_L3"))] = CLASS_IDS["vertebrae_L5"]
    low, high = extent(tall, "vertebrae_L5")
    assert (high - low) * SPACING_MM > 100
    tall[low:high, 34:36, 32:34] = CLASS_IDS["vertebrae_L5"]  # in one piece
    assert "sacrum" in split(tall)[Region.ABDOMEN].evidence


def test_without_sacrum_and_l5_the_abdomen_begins_at_l4(labels_zyx):
    box = split(without(labels_zyx, "vertebrae_L5", "sacrum"))[Region.ABDOMEN]
    assert box.start_zyx[0] == extent(labels_zyx, "vertebrae_L4")[0]


def test_a_structure_in_the_air_does_not_widen_the_box(labels_zyx):
    dirty = labels_zyx.copy()
    lungs = half_way(labels_zyx, *LUNG)
    dirty[lungs, :2, :2] = CLASS_IDS["colon"]
    assert split(dirty)[Region.CHEST] == split(labels_zyx)[Region.CHEST]


def test_labels_without_the_body_are_cut_to_their_structures(labels_zyx):
    bare = np.where(labels_zyx == BODY, 0, labels_zyx)
    assert set(split(bare)) == {Region.HAN, Region.CHEST, Region.ABDOMEN}


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
