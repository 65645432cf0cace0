"""Labels in DICOM: contours and segments by name, on the scan's voxels or refused."""

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from meddiff.errors import CaseError
from meddiff.volumes.dicom.labels import find_label_file, label_names, read_dicom_labels
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import read_grid, to_zyx
from tests.volumes.dicom.files import write_contours, write_enhanced, write_segments, write_series

HU = np.random.default_rng(0).integers(-1000, 1000, (8, 14, 16))
GRID = Grid((16, 14, 8), np.zeros(3), np.diag([2.0, 2.0, 3.0]))


def box(low, high):
    mask = np.zeros(HU.shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


LUNG, TUMOUR = box((1, 2, 2), (7, 10, 12)), box((3, 4, 4), (5, 7, 7))


def outlines(mask, grid=GRID, axis=0):
    """Return the rectangle around a box in every slice along an axis (zyx), half a voxel outside of its centres."""
    low, high = np.argwhere(mask).min(0) - 0.5, np.argwhere(mask).max(0) + 0.5
    first, second = (a for a in range(3) if a != axis)
    contours = []
    for number in np.unique(np.argwhere(mask)[:, axis]):
        corners = np.full((4, 3), float(number))
        corners[:, first] = low[first], low[first], high[first], high[first]
        corners[:, second] = low[second], high[second], high[second], low[second]
        contours.append(grid.origin_mm + corners[:, ::-1] @ grid.axes_mm.T)
    return contours


@pytest.fixture(params=["rtstruct", "seg"])
def labels(request, tmp_path):
    """A file with the lung and, in it, a tumour."""
    if request.param == "rtstruct":
        write_contours(tmp_path / "labels", {"Lung": outlines(LUNG), "Tumour 1": outlines(TUMOUR)})
    else:
        write_series(tmp_path / "ct", HU)
        write_segments(tmp_path / "labels", tmp_path / "ct", {"Lung": LUNG, "Tumour 1": TUMOUR})
    return tmp_path / "labels"


def test_all_regions_are_labels_in_the_order_of_the_file(labels):
    assert label_names(labels) == ["Lung", "Tumour 1"]
    expected = np.where(TUMOUR, 2, LUNG)
    found = read_dicom_labels(labels, GRID)
    if Grid.of(found).equals(GRID):
        np.testing.assert_array_equal(to_zyx(found), expected)
    else:  # a SEG holds the slices with segments, here from the top down
        np.testing.assert_array_equal(to_zyx(found)[::-1], expected[1:7])


@pytest.mark.parametrize(
    ("names", "count"),
    [(["tumour 1"], {1: 18}), (["TUMOUR 1", "Lung"], {2: 480}), (["Lung", "Tumour 1"], {1: 462, 2: 18})],
)
def test_regions_are_chosen_and_numbered_by_name(labels, names, count):
    values, counts = np.unique(to_zyx(read_dicom_labels(labels, GRID, names)), return_counts=True)
    assert {v: c for v, c in zip(values, counts, strict=True) if v} == count


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        (Grid((16, 14, 4), GRID.origin_mm, GRID.axes_mm), "does not lie on a slice|other voxels than the scan"),
        (Grid((16, 14, 8), np.array([0, 0, 90.0]), GRID.axes_mm), "does not lie on a slice|other voxels than the scan"),
        (
            Grid((16, 14, 8), GRID.origin_mm, Rotation.from_euler("x", 30, degrees=True).as_matrix() @ GRID.axes_mm),
            "does not lie on a slice|other voxels than the scan",
        ),
        (Grid((16, 14, 20), GRID.origin_mm, GRID.axes_mm * (1, 1, 1 / 3)), "another series|other voxels than the scan"),
    ],
)
def test_labels_of_another_scan_are_refused(labels, grid, reason):
    with pytest.raises(CaseError, match=reason):
        read_dicom_labels(labels, grid)


def test_a_name_that_the_file_does_not_have_is_refused(labels):
    with pytest.raises(CaseError, match="no region named heart"):
        read_dicom_labels(labels, GRID, ["Lung", "Heart"])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_contours_may_lie_in_slices_of_any_direction_of_an_oblique_scan(tmp_path, axis):
    turn = Rotation.from_euler("xyz", (20, 30, 40), degrees=True).as_matrix()
    grid = Grid(GRID.size_xyz, np.array([5.0, 6.0, 7.0]), turn @ GRID.axes_mm)
    write_contours(tmp_path / "rs", {"Tumour": outlines(LUNG, grid, axis)})
    np.testing.assert_array_equal(to_zyx(read_dicom_labels(tmp_path / "rs", grid)), LUNG)


def test_contours_of_a_tilted_scan_lie_on_its_slices(tmp_path):
    angle = np.deg2rad(18)
    cosines = (1, 0, 0, 0, np.cos(angle), -np.sin(angle))
    write_series(tmp_path / "ct", HU, cosines=cosines)
    axes_mm = np.column_stack([(2, 0, 0), 2 * np.array(cosines[3:]), (0, 0, 3)])
    write_contours(tmp_path / "ct" / "rs", {"Tumour": outlines(LUNG, Grid(GRID.size_xyz, np.zeros(3), axes_mm))})
    found = to_zyx(read_dicom_labels(tmp_path / "ct", read_grid(tmp_path / "ct")))
    assert found.sum(axis=(1, 2)).tolist() == pytest.approx(LUNG.sum(axis=(1, 2)).tolist(), rel=0.15)


def test_points_and_open_lines_have_no_inside(tmp_path):
    write_contours(tmp_path / "rs", {"Lung": outlines(LUNG)}, kind="OPEN_PLANAR")
    with pytest.raises(CaseError, match="no contour"):
        read_dicom_labels(tmp_path / "rs", GRID)


def test_a_segment_on_one_slice_is_read(tmp_path):
    write_series(tmp_path / "ct", HU)
    write_segments(tmp_path / "seg", tmp_path / "ct", {"Lesion": box((3, 4, 4), (4, 7, 7))})
    assert to_zyx(read_dicom_labels(tmp_path / "seg", GRID)).sum() == 9


def test_of_a_folder_the_one_rtstruct_is_read_before_a_seg(tmp_path):
    write_series(tmp_path, HU)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CaseError, match="no RTSTRUCT or SEG"):
        find_label_file(tmp_path)
    write_segments(tmp_path / "seg", tmp_path, {"Lung": LUNG})
    assert find_label_file(tmp_path) == tmp_path / "seg"
    write_contours(tmp_path / "rs", {"Lung": outlines(LUNG)})
    assert find_label_file(tmp_path) == tmp_path / "rs"
    write_contours(tmp_path / "rs2", {"Lung": outlines(LUNG)})
    with pytest.raises(CaseError, match="2 files of modality RTSTRUCT"):
        find_label_file(tmp_path)


def test_what_is_no_label_file_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    write_enhanced(tmp_path / "ct", HU)
    (tmp_path / "broken").write_bytes(b"\0" * 128 + b"DICM")
    for name in ("text", "ct", "broken"):
        with pytest.raises(CaseError, match="no label map, RTSTRUCT or SEG"):
            read_dicom_labels(tmp_path / name, GRID)
    with pytest.raises(CaseError, match="no such file"):
        read_dicom_labels(tmp_path / "missing", GRID)


@pytest.mark.parametrize("lack", ["SegmentLabel", "SegmentedPropertyTypeCodeSequence"])
def test_of_a_seg_without_what_the_standard_asks_for_the_reason_does_not_blame_its_grid(tmp_path, lack):
    write_series(tmp_path / "ct", HU)
    write_segments(tmp_path / "seg", tmp_path / "ct", {"Lesion": TUMOUR})
    tags = pydicom.dcmread(tmp_path / "seg")
    delattr(tags.SegmentSequence[0], lack)
    tags.save_as(tmp_path / "seg")
    with pytest.raises(CaseError, match="damaged, or lacks tags"):
        read_dicom_labels(tmp_path / "seg", GRID)


def test_lesions_on_slices_far_apart_lie_on_these_slices_alone(tmp_path):
    write_series(tmp_path / "ct", HU)
    apart = box((1, 4, 4), (2, 7, 7)) | box((6, 4, 4), (7, 7, 7))
    write_segments(tmp_path / "seg", tmp_path / "ct", {"Lesion": apart})
    found = to_zyx(read_dicom_labels(tmp_path / "seg", GRID))  # from the top down, as above
    np.testing.assert_array_equal(found[::-1], apart[1:7])


def test_shares_of_half_a_voxel_and_more_count(tmp_path):
    write_series(tmp_path / "ct", HU)
    shares = np.where(TUMOUR, 0.6, np.where(LUNG, 0.4, 0.0))
    write_segments(tmp_path / "seg", tmp_path / "ct", {"Lesion": shares}, "FRACTIONAL")
    assert to_zyx(read_dicom_labels(tmp_path / "seg", GRID)).sum() == TUMOUR.sum()
