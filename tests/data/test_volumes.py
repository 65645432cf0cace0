"""Reading: orientation, HU, and what is refused with which reason."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from meddiff.data import volumes
from meddiff.errors import CaseError


def ramp_image() -> sitk.Image:
    """An LPS image whose value tells the place: 400 z + 10 y + x - 1000."""
    z, y, x = np.indices((4, 5, 6))
    image = sitk.GetImageFromArray((400 * z + 10 * y + x - 1000).astype(np.int16))
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-7.0, 11.0, 13.0))
    return image


def write_dicom_series(folder, hu_zyx, modality="CT", skip=()):
    folder.mkdir(parents=True, exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for z, plane in enumerate(hu_zyx):
        if z in skip:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        tags = FileDataset(str(folder / f"{z}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        tags.SOPClassUID, tags.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        tags.SeriesInstanceUID, tags.StudyInstanceUID = series, study
        tags.Modality, tags.PatientID, tags.PatientName = modality, "secret-id", "Secret^Name"
        tags.Rows, tags.Columns = plane.shape
        tags.PixelSpacing, tags.SliceThickness = [2.0, 2.0], 3.0
        tags.ImagePositionPatient, tags.ImageOrientationPatient = [0, 0, 3.0 * z], [1, 0, 0, 0, 1, 0]
        tags.SamplesPerPixel, tags.PhotometricInterpretation = 1, "MONOCHROME2"
        tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 16, 15, 0
        tags.RescaleIntercept, tags.RescaleSlope = -1024, 1
        tags.PixelData = (plane + 1024).astype(np.uint16).tobytes()
        tags.save_as(folder / f"{z}.dcm", enforce_file_format=True)


def test_every_orientation_reads_as_the_same_volume(tmp_path):
    expected = volumes.to_zyx(ramp_image())
    for orientation in ("LPS", "RAS", "SRP", "ILA"):
        path = tmp_path / f"{orientation}.nii.gz"
        sitk.WriteImage(sitk.DICOMOrient(ramp_image(), orientation), str(path))
        read = volumes.read_ct(path)
        np.testing.assert_array_equal(volumes.to_zyx(read), expected)
        np.testing.assert_allclose(read.GetOrigin(), (-7, 11, 13), atol=1e-5)
        np.testing.assert_allclose(read.GetSpacing(), (0.5, 0.75, 2.0), atol=1e-5)


def test_padding_below_air_becomes_air(tmp_path):
    image = ramp_image()
    image[0, 0, 0] = -3024
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert volumes.to_zyx(volumes.read_ct(tmp_path / "a.nrrd")).min() == volumes.AIR_HU


def test_a_dicom_folder_reads_in_hu(tmp_path):
    hu = np.full((5, 6, 7), -1000)
    hu[2, 3, 4] = 500
    write_dicom_series(tmp_path / "ct", hu)
    image = volumes.read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(volumes.to_zyx(image), hu)
    np.testing.assert_allclose(image.GetSpacing(), (2, 2, 3))


def _truncated(path):
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _constant(value, shape=(4, 5, 6)):
    return lambda path: sitk.WriteImage(sitk.GetImageFromArray(np.full(shape, value, np.float32)), str(path))


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("truncated.nii.gz", _truncated, "truncated"),
        ("truncated.nii", _truncated, "truncated"),
        ("truncated.nrrd", _truncated, "truncated"),
        ("truncated.mha", _truncated, "truncated"),
        ("text.nii.gz", lambda path: path.write_text("hello"), "unreadable"),
        ("empty.nii.gz", lambda path: path.touch(), "empty"),
        ("notes.txt", lambda path: path.write_text("hello"), "not a volume"),
        ("missing.nii.gz", lambda path: None, "no such file"),
        ("mr.nii.gz", _constant(300.0), "cannot be CT"),
        ("nan.nrrd", _constant(np.nan), "not finite"),
        ("slice.nii.gz", _constant(-1000.0, (1, 5, 6)), "not a 3-D volume"),
        ("empty-folder", lambda path: path.mkdir(), "folder is empty"),
        ("mr-series", lambda path: write_dicom_series(path, np.full((3, 4, 5), -900), modality="MR"), "modality is MR"),
        ("gap", lambda path: write_dicom_series(path, np.full((6, 4, 5), -900), skip=(3,)), "slices are missing"),
    ],
)
def test_what_is_no_ct_is_refused_with_a_reason(tmp_path, name, make, reason):
    make(tmp_path / name)
    with pytest.raises(CaseError, match=reason) as caught:
        volumes.read_ct(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_no_patient_tag_reaches_what_is_written(tmp_path):
    hu = np.full((4, 5, 6), -1000)
    hu[2] = 40
    write_dicom_series(tmp_path / "ct", hu)
    assert pydicom.dcmread(tmp_path / "ct" / "0.dcm").PatientID == "secret-id"
    volumes.write_image(volumes.read_ct(tmp_path / "ct"), tmp_path / "out.nrrd")
    assert b"ecret" not in (tmp_path / "out.nrrd").read_bytes()


def test_writing_leaves_the_whole_file_or_none(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        volumes.write_image(ramp_image(), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_cropping_keeps_every_voxel_in_its_place():
    image = ramp_image()
    part = volumes.crop(image, (1, 2, 3), (3, 5, 6))
    np.testing.assert_array_equal(volumes.to_zyx(part), volumes.to_zyx(image)[1:3, 2:5, 3:6])
    np.testing.assert_allclose(part.GetOrigin(), image.TransformIndexToPhysicalPoint((3, 2, 1)))
