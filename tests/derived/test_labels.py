"""SEG and RTSTRUCT: the same voxels come back, and they refer to the series that they lie on."""

import logging
import shutil
import subprocess
import warnings

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from meddiff.anatomy.labels import CLASS_NAMES
from meddiff.derived.codes import meaning_of
from meddiff.derived.labels import write_dicom_labels
from meddiff.errors import UserError
from meddiff.volumes.dicom.labels import label_names
from meddiff.volumes.volumes import from_zyx, read_acquired, read_ct, read_labels, to_zyx
from tests.derived.required import lacking
from tests.volumes.dicom.files import AXIAL, write_enhanced, write_series

SHAPE = (5, 17, 19)  # whose slices fill no whole number of bytes
HU = np.random.default_rng(0).integers(-1000, 1000, SHAPE)
TILTED = (1, 0, 0, 0, float(np.cos(0.3)), float(-np.sin(0.3)))
NAMES = {1: "lesion", 10: "lung_upper_lobe_left", 118: "body"}
KINDS = ("seg", "rtstruct")


def labels_zyx():
    """Return labels with a hole, an island in it, voxels that meet at a corner, and the border of the scan."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:14, 3:16] = 118
    labels[2, 5:11, 6:12] = 0
    labels[2, 7:9, 8:10] = 118
    labels[1, 3, 4] = labels[1, 4, 5] = 1
    labels[0, :4, :5] = 10
    return labels


@pytest.fixture(params=[AXIAL, TILTED], ids=["upright", "tilted"])
def series(request, tmp_path):
    write_series(tmp_path / "ct", HU, cosines=request.param, step_mm=(0.0, 0.0, -3.0))
    return tmp_path / "ct"


def write(folder, kind, labels=None):
    """Write labels on the voxels of a series, in the order of its slices."""
    image = read_acquired(folder)
    labels = sitk.GetImageFromArray(labels_zyx() if labels is None else labels)
    labels.CopyInformation(image)
    write_dicom_labels(labels, NAMES, folder, folder.parent / f"labels.{kind}.dcm")
    return folder.parent / f"labels.{kind}.dcm"


def test_outlines_come_back_voxel_by_voxel(series):
    path = write(series, "rtstruct")
    assert label_names(path) == list(NAMES.values())
    np.testing.assert_array_equal(to_zyx(read_labels(path, read_acquired(series))), numbered())


def test_segments_come_back_slice_by_slice(series):
    path = write(series, "seg")
    assert label_names(path) == list(NAMES.values())
    segments = highdicom.seg.segread(path)
    ordered = sorted((pydicom.dcmread(path) for path in series.iterdir()), key=lambda t: t.ImagePositionPatient[2])
    frames = segments.get_pixels_by_source_instance([t.SOPInstanceUID for t in ordered], combine_segments=True)
    np.testing.assert_array_equal(frames, numbered())
    places = {tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in segments.PerFrameFunctionalGroupsSequence}
    assert places <= {tuple(t.ImagePositionPatient) for t in ordered}


def test_segments_come_back_voxel_by_voxel(tmp_path):
    write_series(tmp_path / "ct", HU)
    found = read_labels(write(tmp_path / "ct", "seg"), read_acquired(tmp_path / "ct"))
    np.testing.assert_array_equal(to_zyx(found), numbered())


def numbered():
    """Return the labels as files number them, from 1 on."""
    numbers = np.zeros(119, np.uint8)
    numbers[list(NAMES)] = 1, 2, 3
    return numbers[labels_zyx()]


@pytest.mark.parametrize("kind", KINDS)
def test_they_lie_in_the_study_and_the_frame_of_their_series_and_refer_to_it(series, kind):
    labels, source = pydicom.dcmread(write(series, kind)), pydicom.dcmread(next(series.iterdir()))
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert labels[name].value == source[name].value
    assert labels.SeriesInstanceUID != source.SeriesInstanceUID
    slices = {pydicom.dcmread(path).SOPInstanceUID for path in series.iterdir()}
    if kind == "seg":
        (referenced,) = labels.ReferencedSeriesSequence
        named = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
    else:
        study = labels.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        (referenced,) = study.RTReferencedSeriesSequence
        named = {item.ReferencedSOPInstanceUID for item in referenced.ContourImageSequence}
        contours = [contour for roi in labels.ROIContourSequence for contour in roi.ContourSequence]
        assert {contour.ContourImageSequence[0].ReferencedSOPInstanceUID for contour in contours} < slices
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert named == slices


@pytest.mark.parametrize("kind", KINDS)
def test_they_have_what_the_standard_asks_for_also_where_the_series_has_not(series, kind):
    for path in series.iterdir():
        tags = pydicom.dcmread(path)
        for name in ("PatientBirthDate", "StudyID", "ReferringPhysicianName"):
            delattr(tags, name)
        tags.save_as(path)
    path = write(series, kind)
    assert lacking(pydicom.dcmread(path)) == set()
    if program := shutil.which("dciodvfy"):
        said = subprocess.run([program, "-new", path], capture_output=True, text=True, check=False)
        assert not [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("kind", KINDS)
def test_neither_logs_nor_warnings_nor_names_of_files_tell_who_the_patient_is(series, kind, caplog):
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        path = write(series, kind)
    said = "".join([caplog.text, path.name, *(str(warning.message) for warning in told)])
    assert "secret" not in said.lower()


def test_dcm2niix_and_simpleitk_place_a_seg_over_its_series(tmp_path):
    write_series(tmp_path / "ct", HU, origin_mm=(-20.0, 30.0, 40.0))
    ct, seg = read_ct(tmp_path / "ct"), sitk.ReadImage(str(write(tmp_path / "ct", "seg")))
    lesion = highdicom.seg.segread(tmp_path / "labels.seg.dcm").get_volume(segment_numbers=[1])
    z, y, x = np.argwhere(labels_zyx() == 1)[0].tolist()
    where_mm = ct.TransformIndexToPhysicalPoint((x, y, z))
    index = np.round(lesion.map_reference_to_indices(np.array([where_mm]))[0]).astype(int)
    assert lesion.array[(*index, 0)] == 1
    assert seg.GetSpacing()[:2] == ct.GetSpacing()[:2]
    assert seg.GetOrigin()[:2] == ct.GetOrigin()[:2]


def test_every_class_has_a_code_and_the_sides_have_different_ones():
    meanings = {name: meaning_of(name) for name in (*CLASS_NAMES, "lesion", "body")}
    assert all(meaning.type.meaning for meaning in meanings.values())
    for name in CLASS_NAMES:
        if "left" in name.split("_") and (other := name.replace("left", "right")) in meanings and "cyst" not in name:
            assert meanings[name] != meanings[other]
    assert meanings["lesion"].type.meaning == "Lesion"
    assert meanings["body"].category.meaning == "Tissue"


def test_labels_without_a_voxel_are_no_dicom(tmp_path):
    write_series(tmp_path / "ct", HU)
    with pytest.raises(UserError, match="no voxel has a label"):
        write(tmp_path / "ct", "seg", np.zeros(SHAPE, np.uint8))
    assert not (tmp_path / "labels.seg.dcm").exists()


def test_a_multi_frame_series_is_refused(tmp_path):
    (tmp_path / "ct").mkdir()
    write_enhanced(tmp_path / "ct" / "a.dcm", HU)
    with pytest.raises(UserError, match="multi-frame"):
        write_dicom_labels(from_zyx(labels_zyx(), 2.0), NAMES, tmp_path / "ct", tmp_path / "l.seg.dcm")
