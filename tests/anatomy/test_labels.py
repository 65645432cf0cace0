"""The label ids are TotalSegmentator's."""

from totalsegmentator.map_to_binary import class_map

from meddiff.anatomy.labels import BODY, CLASS_IDS, CLASS_NAMES, KIDNEY, LABEL_COUNT, LUNG, ids
from meddiff.metrics.overlap import MAJOR_ORGANS


def test_names_and_numbers_are_those_of_totalsegmentator():
    assert {index: name for name, index in CLASS_IDS.items()} == class_map["total"]
    assert len(CLASS_NAMES) + 1 == BODY == LABEL_COUNT - 1 == 118


def test_groups():
    assert len(LUNG) == 5
    assert ids(*KIDNEY) == (2, 3)
    assert all(name in CLASS_IDS for organs in MAJOR_ORGANS.values() for names in organs.values() for name in names)
