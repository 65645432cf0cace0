"""Misplaced labels are refused with the reason: by the HU under them, and when they fit better mirrored."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from meddiff.errors import CaseError
from meddiff.volumes.lesion_checks import refuse_implausible_hu, refuse_mirrored
from meddiff.volumes.lesion_labels import read_lesion
from meddiff.volumes.volumes import from_zyx

NODES_HU = (-50, 200)
AXES = {"z": 0, "y": 1, "x": 2}


def body(seed=0):
    """Return a scan of fat with an organ to one side and nodes, in HU, and the nodes' labels."""
    rng = np.random.default_rng(seed)
    hu, nodes = np.full((40, 48, 56), -100.0), np.zeros((40, 48, 56), np.uint8)
    hu[5:35, 4:20, 3:20] = 60  # an organ, in which labels that are off would have the right HU
    for number, (z, y, x) in enumerate([(8, 30, 40), (14, 26, 44), (20, 34, 30), (9, 38, 33)], start=1):
        nodes[z : z + 5, y : y + 5, x : x + 5] = number
    hu[nodes > 0] = 40
    return np.rint(hu + rng.normal(0, 15, hu.shape)).astype(np.int16), nodes


def mirrored(labels_zyx, axes):
    return np.flip(labels_zyx, [AXES[axis] for axis in axes])


def test_labels_in_their_place_pass():
    hu_zyx, nodes_zyx = body()
    refuse_implausible_hu(nodes_zyx, hu_zyx, NODES_HU)
    refuse_mirrored(nodes_zyx, hu_zyx, NODES_HU)


@pytest.mark.parametrize("axes", ["z", "y", "x", "zy", "zx", "yx", "zyx"])
def test_labels_in_another_order_are_refused_with_the_axes(axes):
    hu_zyx, nodes_zyx = body()
    with pytest.raises(CaseError, match=f"better when they are mirrored along {', '.join(axes)}:"):
        refuse_mirrored(mirrored(nodes_zyx, axes), hu_zyx, NODES_HU)


def test_mirrored_labels_with_the_right_hu_are_refused_too():
    """An organ of the nodes' HU lies where their mirror image along all axes lies, so the median says nothing."""
    hu_zyx, nodes_zyx = body()
    hu_zyx[:36, :26, :30] = 60
    wrong_zyx = mirrored(nodes_zyx, "yx")
    refuse_implausible_hu(wrong_zyx, hu_zyx, NODES_HU)
    with pytest.raises(CaseError, match="mirrored along y, x"):
        refuse_mirrored(wrong_zyx, hu_zyx, NODES_HU)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_in_a_scan_that_is_alike_everywhere_no_labels_are_refused(seed):
    rng = np.random.default_rng(seed)
    labels_zyx = np.zeros((20, 20, 20), np.uint8)
    z, y, x = rng.integers(0, 14, 3)
    labels_zyx[z : z + 6, y : y + 6, x : x + 6] = 1
    refuse_mirrored(labels_zyx, np.full((20, 20, 20), int(rng.integers(-1000, 1000)), np.int16), NODES_HU)


@pytest.mark.parametrize("median_hu", [-850, -51, 201])
def test_labels_in_the_lung_in_fat_or_in_bone_are_refused(median_hu):
    hu_zyx = np.full((5, 5, 5), median_hu, np.int16)
    with pytest.raises(CaseError, match=f"median is {median_hu} HU, expected -50 to 200"):
        refuse_implausible_hu(np.ones((5, 5, 5), np.uint8), hu_zyx, NODES_HU)


def test_a_scan_without_labels_and_one_that_is_all_label_pass():
    hu_zyx, none = np.full((5, 5, 5), 40, np.int16), np.zeros((5, 5, 5), np.uint8)
    refuse_implausible_hu(none, hu_zyx, NODES_HU)
    refuse_mirrored(none, hu_zyx, NODES_HU)
    refuse_mirrored(none + 1, hu_zyx, NODES_HU)


@pytest.mark.parametrize(("axes", "words"), [("z", "mirrored along z"), ("y", "mirrored along y")])
def test_labels_laid_on_a_scan_in_the_wrong_order_are_a_fault_of_the_case(tmp_path, axes, words):
    hu_zyx, nodes_zyx = body()
    scan = from_zyx(hu_zyx, 1.0)
    sitk.WriteImage(scan, str(tmp_path / "scan.nrrd"))
    sitk.WriteImage(from_zyx(nodes_zyx, 1.0), str(tmp_path / "right.nrrd"))
    sitk.WriteImage(from_zyx(mirrored(nodes_zyx, axes).copy(), 1.0), str(tmp_path / "wrong.nrrd"))
    common = ((), tmp_path / "scan.nrrd", scan, True, NODES_HU)
    np.testing.assert_array_equal(read_lesion(tmp_path / "right.nrrd", *common), nodes_zyx > 0)
    with pytest.raises(CaseError, match=words):
        read_lesion(tmp_path / "wrong.nrrd", *common)


def test_labels_with_a_header_of_their_own_are_checked_for_their_hu_alone(tmp_path):
    hu_zyx, nodes_zyx = body()
    scan = from_zyx(hu_zyx, 1.0)
    sitk.WriteImage(scan, str(tmp_path / "scan.nrrd"))
    sitk.WriteImage(from_zyx(nodes_zyx, 1.0), str(tmp_path / "nodes.nrrd"))
    common = ((), tmp_path / "scan.nrrd", scan, False)
    assert read_lesion(tmp_path / "nodes.nrrd", *common, NODES_HU).any()
    with pytest.raises(CaseError, match="expected 100 to 200"):
        read_lesion(tmp_path / "nodes.nrrd", *common, (100, 200))
