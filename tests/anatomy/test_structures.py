"""Anatomy that comes in parts, by the names of its files, regions or segments."""

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.anatomy.masks import read_mask
from meddiff.anatomy.numbering import MaskFile
from meddiff.anatomy.structures import read_structure_regions
from meddiff.errors import CaseError
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import from_zyx, read_ct, to_zyx
from tests.volumes.dicom.files import write_contours, write_segments, write_series

SHAPE = (6, 12, 14)
BODY, LIVER, LUNG = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
BODY[:, 1:11, 1:13], LIVER[1:4, 3:6, 3:8], LUNG[2:6, 6:9, 6:10] = True, True, True
EXPECTED = np.select([LIVER, LUNG, BODY], [CLASS_IDS["liver"], CLASS_IDS["lung_lower_lobe_left"], 118])
NAMED = {"liver": LIVER, "lung_lower_lobe_left": LUNG, "body": BODY}


def write_parts(folder, parts, turned=""):
    folder.mkdir()
    for name, mask in parts.items():
        image = from_zyx(mask.astype(np.uint8), 2.0, (5.0, 6.0, 7.0))
        image = sitk.DICOMOrient(image, "RAS") if name == turned else image
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))


@pytest.mark.parametrize("turned", ["", "liver", "body"])
def test_a_folder_with_a_file_for_each_structure_is_a_mask(tmp_path, caplog, turned):
    empty = np.zeros(SHAPE, bool)
    write_parts(tmp_path / "parts", {**NAMED, "spleen": empty, "lung_vessels": LUNG, "ct": BODY}, turned)
    (tmp_path / "parts" / "statistics.json").write_text("{}")
    with caplog.at_level("INFO"):
        mask = read_mask(MaskFile(tmp_path / "parts"), 2.0)
    np.testing.assert_array_equal(to_zyx(sitk.DICOMOrient(mask, "LPS")), EXPECTED)
    assert sitk.DICOMOrient(mask, "LPS").GetOrigin() == (5.0, 6.0, 7.0)
    assert "structures of the mask: spleen, liver, lung_lower_lobe_left, body; left out" in caplog.text


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"lesion": LIVER, "ct": BODY}, "ct, lesion: no classes of TotalSegmentator's task total"),
        ({"liver": LIVER & ~LIVER, "body": BODY & ~BODY}, "the mask is empty"),
        ({"liver": LIVER}, "no voxel has the label 118"),
        ({"liver": LIVER, "body": BODY[1:]}, "liver.nii.gz lies on other voxels than body.nii.gz"),
    ],
)
def test_a_folder_that_is_no_anatomy_is_refused(tmp_path, parts, words):
    write_parts(tmp_path / "parts", parts)
    with pytest.raises(CaseError, match=words):
        read_mask(MaskFile(tmp_path / "parts"), 2.0)


def test_segments_are_known_by_their_names_with_and_without_their_scan(tmp_path):
    write_series(tmp_path / "ct", np.arange(np.prod(SHAPE)).reshape(SHAPE) - 1000)
    parts = {"Liver": LIVER, "GTV": LIVER, "Lung lower lobe left": LUNG, "BODY": BODY}
    write_segments(tmp_path / "ct" / "seg", tmp_path / "ct", parts)
    image = read_ct(tmp_path / "ct")
    for scan in (Grid.of(image), None):
        labels, taken = read_structure_regions(tmp_path / "ct", scan)
        found = sitk.Resample(labels, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        np.testing.assert_array_equal(to_zyx(found), EXPECTED)
        assert taken.endswith("left out, as no classes of it: GTV")


def test_outlines_are_known_by_their_names_and_need_their_scan(tmp_path):
    square = np.array([[5, 5, 6], [17, 5, 6], [17, 15, 6], [5, 15, 6]], float)
    write_contours(tmp_path / "rs", {"Heart": [square], "Ring": [square]})
    scan = Grid(SHAPE[::-1], np.zeros(3), np.diag([2.0, 2.0, 3.0]))
    labels, _ = read_structure_regions(tmp_path / "rs", scan)
    assert set(np.unique(to_zyx(labels))) == {0, CLASS_IDS["heart"]}
    with pytest.raises(CaseError, match="an RTSTRUCT has outlines on the slices of its scan and no voxels"):
        read_structure_regions(tmp_path / "rs", None)
