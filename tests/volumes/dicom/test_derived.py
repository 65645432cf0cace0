"""A derived series: written right from every encoding, and never over files that are there."""

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from meddiff.cli.denoise import denoise
from meddiff.config import Region
from meddiff.errors import UserError
from meddiff.volumes.dicom.derived import write_derived_series
from meddiff.volumes.volumes import read_ct, to_zyx
from tests.volumes.dicom.files import write_enhanced, write_series

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
    write_derived_series(image + 7, tmp_path / "ct", tmp_path / "out", "derived")
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
    write_derived_series(read_ct(tmp_path / "ct"), tmp_path / "ct", tmp_path / "out", "derived")
    assert len(contents(tmp_path / "out")) == len(HU)
