"""Lesion labels: label maps and RTSTRUCT contours, on the grid where they are wanted."""

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.geometry import Grid
from meddiff.volumes.lesion_labels import read_lesion, read_own_lesion
from meddiff.volumes.resample import isotropic_grid
from meddiff.volumes.volumes import from_zyx, read_ct
from tests.volumes.dicom.files import write_contours, write_segments, write_series
from tests.volumes.test_volumes import write_dicom_series


@pytest.mark.parametrize(("values", "wanted"), [((1,), 1), ((2,), 2), ((1, 2), 3)])
def test_the_wanted_labels_are_lesions_whatever_the_orientation(tmp_path, values, wanted):
    labels = np.zeros((6, 8, 10), np.uint8)
    labels[1:3, 2:4, 2:4], labels[3:5, 5:7, 6:9] = 1, 2
    image = from_zyx(labels, 2.0, (5.0, 6.0, 7.0))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(tmp_path / "label.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    found = read_lesion(tmp_path / "label.nii.gz", values, tmp_path / "scan.nii.gz", image)
    assert (found == np.isin(labels, values)).all()
    assert found.sum() == {1: 8, 2: 12, 3: 20}[wanted]


def write_lesion(folder, contours, name="GTV-1"):
    write_contours(folder / "rs.dcm", {name: [[(x, y, z_mm) for x, y in points] for z_mm, points in contours]})


def square(low_mm, high_mm):
    return [(low_mm, low_mm), (high_mm, low_mm), (high_mm, high_mm), (low_mm, high_mm)]


@pytest.fixture
def series(tmp_path):
    """Five slices of 3 mm with pixels of 2 mm."""
    write_dicom_series(tmp_path / "s", np.random.default_rng(0).integers(-900, 900, (5, 16, 18)).astype(np.int16))
    return tmp_path / "s"


def test_contours_are_filled_and_one_inside_another_is_a_hole(series):
    write_lesion(series, [(3.0, square(3, 21)), (3.0, square(9, 15)), (6.0, square(3, 21))])
    ct = read_ct(series)
    found = read_lesion(series, (1,), series, ct)
    expected = np.zeros((5, 16, 18), bool)
    expected[1:3, 2:11, 2:11] = True  # pixels from 4 to 20 mm
    expected[1, 5:8, 5:8] = False
    assert (found == expected).all()


def test_contours_reach_another_grid(series):
    write_lesion(series, [(z, square(3, 21)) for z in (3.0, 6.0, 9.0)])
    grid = isotropic_grid(read_ct(series), 3.0)
    found = read_lesion(series, (1,), series, grid)
    assert found.shape == grid.GetSize()[::-1]
    assert found.sum() * 3**3 == pytest.approx(9 * 18 * 18, rel=0.15)


@pytest.mark.parametrize(
    ("contours", "name", "words"),
    [
        ([(3.0, square(3, 21))], "Heart", "called a lesion"),
        ([(99.0, square(3, 21))], "GTV-1", "does not lie on a slice"),
    ],
)
def test_contours_that_are_of_no_use_are_refused(series, contours, name, words):
    write_lesion(series, contours, name)
    with pytest.raises(CaseError, match=words):
        read_lesion(series, (1,), series, read_ct(series))


def test_a_folder_without_contours_is_refused(series):
    with pytest.raises(CaseError, match="no RTSTRUCT"):
        read_lesion(series, (1,), series, read_ct(series))


def test_labels_of_another_scan_are_refused(tmp_path):
    scan, labels = (
        from_zyx(np.zeros((6, 8, 10), np.int16), 2.0),
        from_zyx(np.ones((6, 8, 10), np.uint8), 2.0, (9, 0, 0)),
    )
    sitk.WriteImage(scan, str(tmp_path / "scan.nrrd"))
    sitk.WriteImage(labels, str(tmp_path / "label.nrrd"))
    with pytest.raises(CaseError, match="other voxels than the scan"):
        read_lesion(tmp_path / "label.nrrd", (1,), tmp_path / "scan.nrrd", scan)


def test_segments_called_lesions_are_lesions_whatever_their_number(series):
    masks = {name: np.zeros((5, 16, 18), bool) for name in ("Lung", "Nodule 1", "Heart", "nodule 2")}
    for number, mask in enumerate(masks.values()):
        mask[1:3, 2 + 3 * number : 4 + 3 * number, 5:9] = True
    write_segments(series / "seg", series, masks)
    found = read_lesion(series / "seg", (7,), series, read_ct(series))
    np.testing.assert_array_equal(found, masks["Nodule 1"] | masks["nodule 2"])
    np.testing.assert_array_equal(read_lesion(series, (7,), series, read_ct(series)), found)


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_the_lesion_of_a_user_may_be_a_seg_or_an_rtstruct(tmp_path, kind):
    write_series(tmp_path / "ct", np.arange(5 * 16 * 18).reshape(5, 16, 18) - 1000)
    lesion = np.zeros((5, 16, 18), bool)
    lesion[2, 4:8, 5:9] = True
    if kind == "seg":
        write_segments(tmp_path / "labels", tmp_path / "ct", {"Lung": ~lesion, "GTV": lesion})
    else:
        square = np.array([[9, 7, 6], [17, 7, 6], [17, 15, 6], [9, 15, 6]], float)
        write_contours(tmp_path / "labels", {"Heart": [np.add(square, (0, 0, 3))], "GTV": [square]})
    image = read_ct(tmp_path / "ct")
    found = read_own_lesion(tmp_path / "labels", Grid.of(image), image)
    np.testing.assert_array_equal(found, lesion)
