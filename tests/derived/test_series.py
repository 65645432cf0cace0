"""A derived series: written right from every encoding, and never over files that are there."""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from meddiff.cli.denoise import denoise
from meddiff.config import Region
from meddiff.derived.series import MODIFIED_HU, Content, write_derived_series
from meddiff.errors import UserError
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import from_zyx, like, read_acquired, read_ct, to_zyx, write_image
from tests.derived.required import lacking
from tests.volumes.dicom.files import AXIAL, write_enhanced, write_series

HU = np.random.default_rng(0).integers(-1000, 1000, (4, 10, 12))
TABLE = np.arange(256, dtype=np.uint16)


def encode(folder, syntax):
    """Write the slices of a folder anew, with words of two bytes beside the voxels, at two levels."""
    big = syntax == ExplicitVRBigEndian
    words = TABLE.astype(">u2" if big else "<u2").tobytes()
    for path in folder.iterdir():
        tags = pydicom.dcmread(path)
        tags.add_new("RedPaletteColorLookupTableDescriptor", "US", [256, 40000, 16])
        tags.add_new("RedPaletteColorLookupTableData", "OW", words)
        item = pydicom.Dataset()
        item.add_new("LUTDescriptor", "US", [256, 0, 16])
        item.add_new("LUTData", "OW", words)
        tags.ModalityLUTSequence = Sequence([item])
        tags.PixelPaddingValue, tags.PixelPaddingRangeLimit = 63000, 63001
        if big:
            tags.PixelData = np.frombuffer(tags.PixelData, "<u2").astype(">u2").tobytes()
        tags.file_meta.TransferSyntaxUID = syntax
        fresh = pydicom.Dataset()
        fresh.update(tags)
        fresh.file_meta, fresh.preamble = tags.file_meta, b"\0" * 128
        pydicom.dcmwrite(path, fresh, enforce_file_format=True)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_series_is_derived_from_every_encoding(tmp_path, syntax):
    write_series(tmp_path / "ct", HU)
    encode(tmp_path / "ct", syntax)
    image = read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(to_zyx(image), HU)
    write_derived_series(image + 7, tmp_path / "ct", tmp_path / "out", Content("derived"))
    np.testing.assert_array_equal(to_zyx(read_ct(tmp_path / "out")), HU + 7)
    for path in (tmp_path / "out").iterdir():
        tags = pydicom.dcmread(path)
        assert tags.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert tags.RedPaletteColorLookupTableDescriptor == [256, 40000, 16]
        for words in (tags.RedPaletteColorLookupTableData, tags.ModalityLUTSequence[0].LUTData):
            np.testing.assert_array_equal(np.frombuffer(words, "<u2") if isinstance(words, bytes) else words, TABLE)
        assert "PixelPaddingValue" not in tags
        assert "PixelPaddingRangeLimit" not in tags
        assert tags.PatientID == "secret-id"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("out", ["ct", "older", "file"])
def test_denoise_writes_into_no_folder_with_files_and_says_so_before_the_work(tmp_path, out):
    write_series(tmp_path / "ct", HU, name="{z:04d}.dcm")
    write_series(tmp_path / "older", HU[:2], name="{z:04d}.dcm")
    (tmp_path / "file").write_text("notes")
    before = {name: contents(tmp_path / name) for name in ("ct", "older")}
    with pytest.raises(UserError, match=rf"--out .*{out}: already holds files"):
        denoise(tmp_path / "ct", tmp_path / out, Region.CHEST, model=str(tmp_path / "no-model"))
    assert {name: contents(tmp_path / name) for name in ("ct", "older")} == before


def test_denoise_refuses_a_multi_frame_file_before_the_work(tmp_path):
    (tmp_path / "ct").mkdir()
    write_enhanced(tmp_path / "ct" / "a.dcm", HU)
    with pytest.raises(UserError, match="multi-frame DICOM file, of which no series can be derived"):
        denoise(tmp_path / "ct", tmp_path / "out", Region.CHEST, model=str(tmp_path / "no-model"))
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_filled(tmp_path):
    write_series(tmp_path / "ct", HU)
    (tmp_path / "out").mkdir()
    write_derived_series(read_ct(tmp_path / "ct"), tmp_path / "ct", tmp_path / "out", Content("derived"))
    assert len(contents(tmp_path / "out")) == len(HU)


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_what_a_killed_process_left_of_a_series_is_removed(tmp_path, there):
    write_series(tmp_path / "ct", HU)
    out = tmp_path / "out"
    left = (out if there else tmp_path) / ".tmp-1-out"
    left.mkdir(parents=True)
    (left / "0001.dcm").touch()
    write_derived_series(read_ct(tmp_path / "ct"), tmp_path / "ct", out, Content("derived"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct", "out"]
    assert [path.name for path in sorted(out.iterdir())] == ["0001.dcm", "0002.dcm", "0003.dcm", "0004.dcm"]


MAP = Content("anomaly map in HU", MODIFIED_HU, 0.1, (0.0, 400.0))
TILTED = (1, 0, 0, 0, float(np.cos(0.3)), float(-np.sin(0.3)))


@pytest.mark.parametrize("cosines", [AXIAL, TILTED], ids=["upright", "tilted"])
def test_a_map_lies_over_its_source_with_its_scale(tmp_path, cosines):
    write_series(tmp_path / "ct", HU, cosines=cosines, origin_mm=(-9.0, 8.0, 70.0))
    source = read_acquired(tmp_path / "ct")
    values = np.random.default_rng(1).normal(0, 300, HU.shape).astype(np.float32)
    write_derived_series(like(values, source), tmp_path / "ct", tmp_path / "map", MAP)
    places = [{tuple(t.ImagePositionPatient): t for t in slices(tmp_path / name)} for name in ("ct", "map")]
    assert places[0].keys() == places[1].keys()
    for place, tags in places[1].items():
        assert (tags.RescaleType, float(tags.RescaleSlope)) == ("HU_MOD", 0.1)
        assert (tags.WindowCenter, tags.WindowWidth) == (0, 400)
        assert tags.FrameOfReferenceUID == places[0][place].FrameOfReferenceUID
        assert tags.SourceImageSequence[0].ReferencedSOPInstanceUID == places[0][place].SOPInstanceUID
    by_itk = read_by_itk(tmp_path / "map")
    np.testing.assert_allclose(np.sort(to_zyx(by_itk), None), np.sort(values, None), atol=0.06)


def test_slices_of_another_grid_have_a_place_of_their_own(tmp_path):
    write_series(tmp_path / "ct", HU, cosines=TILTED, GantryDetectorTilt=17)
    fine = from_zyx(np.random.default_rng(1).integers(-1000, 1000, (9, 7, 8)).astype(np.int16), 1.0, (3.0, -2.0, 1.0))
    write_derived_series(sitk.DICOMOrient(fine, "RSA"), tmp_path / "ct", tmp_path / "out", Content("finer"))
    back = read_acquired(tmp_path / "out")
    np.testing.assert_array_equal(to_zyx(back), to_zyx(fine))
    assert Grid.of(back).equals(Grid.of(fine))
    assert [t.InstanceNumber for t in slices(tmp_path / "out")] == list(range(1, 10))
    assert "GantryDetectorTilt" not in slices(tmp_path / "out")[0]


def test_dcm2niix_simpleitk_nibabel_and_pydicom_read_the_same_voxels_in_the_same_place(tmp_path):
    write_series(tmp_path / "ct", HU, origin_mm=(-9.0, 8.0, 70.0))
    image = read_ct(tmp_path / "ct") + 7
    write_derived_series(image, tmp_path / "ct", tmp_path / "out", Content("derived"))
    program = Path(sys.executable).with_name("dcm2niix")
    subprocess.run([program, "-f", "out", "-o", tmp_path, tmp_path / "out"], check=True, capture_output=True)
    write_image(image, tmp_path / "own.nii")
    converted, own = (nibabel.load(tmp_path / name) for name in ("out.nii", "own.nii"))
    by_dcm2niix, by_nibabel = (nibabel.as_closest_canonical(file) for file in (converted, own))
    np.testing.assert_allclose(by_dcm2niix.affine, by_nibabel.affine, atol=1e-4)
    np.testing.assert_array_equal(by_dcm2niix.get_fdata(), by_nibabel.get_fdata())
    by_itk = read_by_itk(tmp_path / "out")
    np.testing.assert_array_equal(to_zyx(by_itk), HU + 7)
    assert Grid.of(by_itk).equals(Grid.of(image))
    by_pydicom = sorted(slices(tmp_path / "out"), key=lambda tags: tags.ImagePositionPatient[2])
    np.testing.assert_array_equal([t.pixel_array * t.RescaleSlope + t.RescaleIntercept for t in by_pydicom], HU + 7)


@pytest.mark.parametrize("content", [Content("derived"), MAP])
def test_a_derived_slice_lacks_nothing_that_its_source_has(tmp_path, content):
    write_series(tmp_path / "ct", HU)
    write_derived_series(read_ct(tmp_path / "ct"), tmp_path / "ct", tmp_path / "out", content)
    paths = [next((tmp_path / name).iterdir()) for name in ("ct", "out")]
    before, after = (lacking(pydicom.dcmread(path)) for path in paths)
    assert after <= before
    if shutil.which("dciodvfy"):
        before, after = (errors_of(path) for path in paths)
        assert after <= before


def test_no_warning_tells_who_the_patient_is(tmp_path):
    write_series(tmp_path / "ct", HU, AccessionNumber="secret-number-too-long-for-it")
    image = read_ct(tmp_path / "ct")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        write_derived_series(image, tmp_path / "ct", tmp_path / "out", Content("derived"))
    assert not [warning for warning in told if "secret" in str(warning.message).lower()]


def errors_of(path):
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    return {line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")}


def slices(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def read_by_itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()
