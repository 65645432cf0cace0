"""A DICOM folder: which series is read, what is refused, and how slices become HU."""

import logging
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from meddiff.derived.series import Content, write_derived_series
from meddiff.errors import CaseError
from meddiff.volumes.dicom.labels import read_dicom_labels
from meddiff.volumes.dicom.series import choose_series, read_series
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import read_ct, read_grid, to_zyx
from tests.volumes.dicom.files import set_pixels, write_contours, write_enhanced, write_series

HU = np.random.default_rng(0).integers(-1000, 1000, (8, 10, 12))
CORONAL = (1, 0, 0, 0, 0, -1)


def hu_of(folder):
    return to_zyx(read_ct(folder))


def spoil(z, **changes):
    def edit(number, tags):
        for name, value in changes.items() if number == z else ():
            setattr(tags, name, value)

    return edit


def drop(z, name):
    return lambda number, tags: delattr(tags, name) if number == z else None


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"Modality": "MR"}, "modality is MR, not CT"),
        ({"Modality": ""}, "modality is not given, not CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen capture"),
        ({"RescaleType": "MGML"}, "values in MGML, not HU"),
        ({"edit": spoil(4, ImagePositionPatient=[0, 0, 9.0])}, "duplicate slices: 1 lie"),
        ({"edit": spoil(4, ImagePositionPatient=[0, 0, 12.5])}, "uneven slice spacing, 2.50 to 3.50 mm"),
        ({"edit": spoil(4, ImagePositionPatient=[1, 0, 12])}, "uneven slice spacing, 3.00 to 3.00 mm: not a regular"),
        ({"edit": spoil(7, ImagePositionPatient=[0, 0, 24])}, "uneven slice spacing, 3.00 to 6.00 mm: slices are miss"),
        ({"edit": drop(3, "ImagePositionPatient")}, "without position"),
        ({"edit": lambda _, tags: delattr(tags, "PixelSpacing")}, "without position"),
        ({"edit": spoil(3, RescaleSlope="nan")}, "without position"),
        ({"edit": spoil(3, ImagePositionPatient=["0", "0", "inf"])}, "without position"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "without position"),
        ({"edit": lambda _, tags: tags.add_new("PixelSpacing", "LO", ["near", "by"])}, "without position"),
        ({"PixelData": b"12"}, "cannot be decoded"),
        ({"edit": drop(3, "PixelData")}, "uneven slice spacing, 3.00 to 6.00 mm: slices are missing; 1 files are cut"),
    ],
)
def test_what_is_no_volume_of_ct_is_refused_with_a_reason(tmp_path, how, reason):
    write_series(tmp_path / "ct", HU, **how)
    with pytest.raises(CaseError, match=reason) as caught:
        read_ct(tmp_path / "ct")
    assert "\n" not in str(caught.value)
    assert not any(word in str(caught.value) for word in ("secret", "Secret", "1.2.", str(tmp_path)))


def test_a_single_slice_and_a_folder_without_dicom_are_refused(tmp_path):
    write_series(tmp_path / "ct", HU[:1])
    with pytest.raises(CaseError, match="a single slice"):
        read_ct(tmp_path / "ct")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("hello")
    with pytest.raises(CaseError, match="no DICOM series"):
        read_ct(tmp_path / "text")


def test_positions_rounded_to_a_tenth_are_even(tmp_path):
    write_series(tmp_path, HU, positions_mm=[(0, 0, round(0.625 * z, 1)) for z in range(8)])
    np.testing.assert_array_equal(hu_of(tmp_path), HU)


def write_all_kinds(folder):
    write_series(folder, HU[:2], number=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], cosines=CORONAL)
    write_series(folder, HU[::2], number=2, step_mm=(0, 0, 6.0), SliceThickness=6)
    write_series(folder, HU, number=3, SliceThickness=3)
    write_series(folder, HU[:4], number=4, step_mm=(0, 0, 1.0), SliceThickness=1)
    write_series(folder, HU, number=5, step_mm=(0, 1, 0), cosines=CORONAL, SliceThickness=1)
    write_series(folder, HU, number=6, step_mm=(0, 0, 1.0), Modality="PT")
    write_series(folder, HU, number=7, SliceThickness=5)
    write_contours(folder / "rs", {"GTV": [np.zeros((3, 3))]})
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0nothing that can be read")
    (folder / "notes.txt").write_text("series of Secret^Name")
    (folder / "list.json").write_text("{}")
    (folder / "more").mkdir()


def test_of_several_series_the_axial_thin_one_with_the_whole_length_is_read_and_the_others_are_listed(tmp_path, caplog):
    write_all_kinds(tmp_path)
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(to_zyx(read_ct(tmp_path)), HU)
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("meddiff")]
    assert line.startswith("DICOM folder: read series 3 (axial, 8 slices, 3.00 mm apart); left out: ")
    assert not any(word in line + caplog.text for word in ("secret", "Secret", "1.2.", str(tmp_path)))
    choice = choose_series(tmp_path)
    assert choice.series.number == "3"
    assert sorted(choice.left_out) == [
        "2 files that are no DICOM",
        "series 1 (localizer)",
        "series 2 (axial, 4 slices, 6.00 mm apart)",
        "series 4 (axial, 4 slices, 1.00 mm apart)",
        "series 5 (not axial, 8 slices, 1.00 mm apart)",
        "series 6 (DICOM modality is PT, not CT)",
        "series 7 (axial, 8 slices, 3.00 mm apart)",
        "series without number (DICOM modality is RTSTRUCT, not CT)",
    ]


@pytest.mark.parametrize("unit", ["MGML", "Z_EFF", "EDW"])
def test_maps_of_spectral_ct_are_no_ct_in_hu_in_multi_frame_files_either(tmp_path, unit):
    write_enhanced(tmp_path / "a.dcm", HU // 10)
    tags = pydicom.dcmread(tmp_path / "a.dcm")
    tags.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType = unit
    tags.save_as(tmp_path / "a.dcm")
    with pytest.raises(CaseError, match=f"values in {unit}, not HU"):
        read_ct(tmp_path)
    write_series(tmp_path, HU, RescaleType="HU")
    np.testing.assert_array_equal(hu_of(tmp_path), HU)


@pytest.mark.parametrize("unit", ["", "US", "HU_MOD", "hu"])
def test_values_whose_unit_is_not_said_are_taken_for_hu(tmp_path, unit):
    write_series(tmp_path, HU, RescaleType=unit)
    np.testing.assert_array_equal(hu_of(tmp_path), HU)


def test_a_slice_thickness_that_is_no_number_keeps_nothing_from_being_read(tmp_path):
    write_series(tmp_path, HU, edit=lambda _, tags: tags.add_new("SliceThickness", "LO", "3 mm"))
    np.testing.assert_array_equal(hu_of(tmp_path), HU)


def test_a_localizer_in_the_series_of_the_scan_is_left_out(tmp_path):
    write_series(tmp_path, HU, SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2")
    write_series(tmp_path, HU[:2], name="scout{z}", cosines=CORONAL, SeriesInstanceUID="1.2.3", step_mm=(0, 1, 0))
    np.testing.assert_array_equal(hu_of(tmp_path), HU)
    assert choose_series(tmp_path).left_out == ("series 1 (not axial, 2 slices, 1.00 mm apart)",)


def test_a_series_with_a_gap_gives_way_to_one_without(tmp_path):
    write_series(tmp_path, HU, number=1, step_mm=(0, 0, 1.0), edit=spoil(4, ImagePositionPatient=[0, 0, 4.5]))
    write_series(tmp_path, HU, number=2)
    choice = choose_series(tmp_path)
    assert choice.series.number == "2"
    assert choice.left_out == ("series 1 (uneven slice spacing, 0.50 to 1.50 mm: not a regular grid)",)


def test_if_no_series_is_whole_the_reason_is_that_of_the_ct(tmp_path):
    write_series(tmp_path, HU, number=1, Modality="MR")
    write_series(tmp_path, HU, number=2, edit=spoil(4, ImagePositionPatient=[0, 0, 9.0]))
    with pytest.raises(CaseError, match="duplicate slices"):
        read_ct(tmp_path)


def test_a_scan_that_is_not_axial_is_read_where_there_is_no_other(tmp_path):
    write_series(tmp_path, HU, step_mm=(0, 3.0, 0), cosines=CORONAL)
    image = read_ct(tmp_path)
    # Rows run down the patient, slices to the back: in LPS the first axis runs up.
    np.testing.assert_array_equal(to_zyx(image), HU.transpose(1, 0, 2)[::-1])


def test_every_header_is_read_once(tmp_path, monkeypatch):
    hu = np.random.default_rng(0).integers(-1000, 1000, (5, 64, 64))  # large enough to be left on disk at first
    write_series(tmp_path, hu)
    read, dcmread = [], pydicom.dcmread

    def count(path, *args, **kwargs):
        read.append(Path(path.name))
        return dcmread(path, *args, **kwargs)

    monkeypatch.setattr(pydicom, "dcmread", count)
    np.testing.assert_array_equal(hu_of(tmp_path), hu)
    assert sorted(read) == sorted(tmp_path.iterdir())
    [plane, *_] = choose_series(tmp_path).series.planes
    plane.hu()
    assert plane.header.get_item("PixelData", keep_deferred=True).value is None  # and let go of


def test_slices_in_any_order_and_by_any_name_make_the_same_volume(tmp_path):
    write_series(tmp_path / "up", HU, name="{z}")
    write_series(tmp_path / "down", HU[::-1], step_mm=(0, 0, -3.0), origin_mm=(0, 0, 21.0), name="{z}.IMA")
    assert Grid.of(read_ct(tmp_path / "down")).equals(Grid.of(read_ct(tmp_path / "up")))
    np.testing.assert_array_equal(hu_of(tmp_path / "down"), HU)
    np.testing.assert_array_equal(hu_of(tmp_path / "up"), HU)


def test_each_slice_has_a_rescale_of_its_own_and_is_rounded(tmp_path):
    slopes = np.linspace(0.25, 2, 8)

    def edit(z, tags):
        set_pixels(tags, np.rint((HU[z] + 1500) / slopes[z]).astype(np.uint16), (slopes[z], -1500))

    write_series(tmp_path, HU, edit=edit)
    exact = [np.rint(np.rint((plane + 1500) / slope) * slope - 1500) for plane, slope in zip(HU, slopes, strict=True)]
    np.testing.assert_array_equal(hu_of(tmp_path), np.clip(exact, -1024, None))


@pytest.mark.parametrize(("stored", "expected"), [(-2000, -1024), (-3024, -1024), (32767, 32767), (3071, 3071)])
def test_padding_becomes_air_and_metal_stays(tmp_path, stored, expected):
    def edit(z, tags):
        values = HU[z].astype(np.int16)
        values[:2] = stored
        set_pixels(tags, values, (1, 0))

    write_series(tmp_path, HU, edit=edit)
    assert (hu_of(tmp_path)[:, :2] == expected).all()
    np.testing.assert_array_equal(hu_of(tmp_path)[:, 2:], HU[:, 2:])


def test_metal_above_int16_gets_its_limit(tmp_path):
    write_series(tmp_path, HU, edit=lambda z, tags: set_pixels(tags, (HU[z] + 1024).astype(np.uint16), (40, -1024)))
    assert hu_of(tmp_path).max() == 32767


def test_bits_above_the_stored_ones_are_not_read(tmp_path):
    def edit(z, tags):
        set_pixels(tags, (HU[z] + 1024 + 0x5000).astype(np.uint16))  # an overlay in bits 12 and 14
        tags.BitsStored, tags.HighBit = 12, 11

    write_series(tmp_path / "unsigned", HU, edit=edit)
    np.testing.assert_array_equal(hu_of(tmp_path / "unsigned"), HU)

    def edit_signed(z, tags):
        set_pixels(tags, (HU[z].astype(np.int16) & 0x0FFF).astype(np.int16), (1, 0))  # the sign ends at bit 11
        tags.BitsStored, tags.HighBit = 12, 11

    write_series(tmp_path / "signed", HU, edit=edit_signed)
    np.testing.assert_array_equal(hu_of(tmp_path / "signed"), HU)


def compress_all(folder, syntax):
    for path in folder.iterdir():
        if syntax in (RLELossless, JPEGLSLossless):
            tags = pydicom.dcmread(path)
            tags.compress(syntax)
            tags.save_as(path)
            continue
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        kinds = {JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless}
        change.SetTransferSyntax(gdcm.TransferSyntax(kinds.get(syntax, gdcm.TransferSyntax.JPEGLosslessProcess14_1)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_compressed_slices_are_read_and_a_series_is_derived_from_them(tmp_path, syntax):
    write_series(tmp_path / "ct", HU)
    compress_all(tmp_path / "ct", syntax)
    assert pydicom.dcmread(tmp_path / "ct" / "1-0.dcm").file_meta.TransferSyntaxUID == syntax
    image = read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(to_zyx(image), HU)
    write_derived_series(image + 7, tmp_path / "ct", tmp_path / "out", Content("derived"))
    np.testing.assert_array_equal(hu_of(tmp_path / "out"), HU + 7)


def test_a_compression_that_is_no_picture_is_refused(tmp_path):
    write_series(tmp_path, HU)
    for path in tmp_path.iterdir():
        tags = pydicom.dcmread(path)
        tags.file_meta.TransferSyntaxUID = MPEG2MPML
        tags.PixelData = encapsulate([b"1234"])
        tags.save_as(path)
    with pytest.raises(CaseError, match="cannot be decoded \\(MPEG2"):
        read_ct(tmp_path)


def test_old_files_without_preamble_are_read_and_a_series_is_derived_from_them(tmp_path):
    write_series(tmp_path / "ct", HU, name="{z}.IMA")
    for path in (tmp_path / "ct").iterdir():
        tags = pydicom.dcmread(path)
        del tags.file_meta
        tags.preamble = None
        pydicom.dcmwrite(path, tags, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[:2] == b"\b\0"
    image = read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(to_zyx(image), HU)
    write_derived_series(image + 7, tmp_path / "ct", tmp_path / "out", Content("derived"))
    np.testing.assert_array_equal(hu_of(tmp_path / "out"), HU + 7)


def tilted(folder, hu_zyx, degrees=18.0):
    angle = np.deg2rad(degrees)
    write_series(folder, hu_zyx, cosines=(1, 0, 0, 0, np.cos(angle), -np.sin(angle)))


def test_a_tilted_gantry_leaves_a_straight_rod_straight(tmp_path):
    """A rod along the table; in the tilted slices it moves by 3 mm x sin(18) per slice."""
    z, y, x = np.indices((10, 24, 20))
    place_mm = np.stack([2 * x, 2 * y * np.cos(np.deg2rad(18)), 3 * z - 2 * y * np.sin(np.deg2rad(18))], axis=-1)
    rod = np.linalg.norm(place_mm[..., :2] - (20, 24), axis=-1) < 6
    tilted(tmp_path, np.where(rod, 300, -800))
    as_acquired = read_series(tmp_path, -1024)
    assert Grid.of(as_acquired).is_sheared()
    image = read_ct(tmp_path)
    grid = Grid.of(image)
    assert not grid.is_sheared()
    found = grid.origin_mm + np.argwhere(to_zyx(image) > -250)[:, ::-1] @ grid.axes_mm.T
    radius_mm = np.linalg.norm(found[:, :2] - (20, 24), axis=1)
    assert radius_mm.max() < 7.5
    assert len(found) == pytest.approx(rod.sum(), rel=0.03)


def test_a_series_derived_from_a_tilted_one_lies_on_its_slices(tmp_path):
    smooth = (-800 + 20 * np.indices((10, 24, 20)).sum(0)).astype(int)
    tilted(tmp_path / "ct", smooth)
    image = read_ct(tmp_path / "ct")
    write_derived_series(image, tmp_path / "ct", tmp_path / "out", Content("derived"))
    source, out = read_series(tmp_path / "ct", -1024), read_series(tmp_path / "out", -1024)
    np.testing.assert_allclose(Grid.of(out).axes_mm, Grid.of(source).axes_mm, atol=1e-6)
    np.testing.assert_allclose(to_zyx(out)[:, 2:-2, 2:-2], smooth[:, 2:-2, 2:-2], atol=2)


def test_frames_of_a_multi_frame_ct_that_leave_a_gap_are_refused(tmp_path):
    write_enhanced(tmp_path / "a.dcm", HU, order=[0, 1, 2, 4, 5, 6, 7, 7])
    with pytest.raises(CaseError, match="duplicate slices"):
        read_ct(tmp_path)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with some bytes of its header changed or taken out."""
    out = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = rng.integers(132, len(out) - 200)
        if rng.random() < 0.3:
            del out[place : place + rng.integers(1, 20)]
        else:
            out[place] = rng.integers(256)
    return bytes(out)


@pytest.mark.parametrize("kind", ["slices", "frames", "contours"])
def test_damaged_headers_give_a_reason_without_names_and_no_other_error(tmp_path, kind):
    write_series(tmp_path / "slices", HU[:6, :4, :5])
    (tmp_path / "frames").mkdir()
    write_enhanced(tmp_path / "frames" / "a.dcm", HU[:3, :4, :5])
    write_contours(tmp_path / "contours", {"Lung": [np.array([(2, 2, 3), (7, 2, 3), (7, 5, 3)])]})
    path = {"slices": "slices/1-1.dcm", "frames": "frames/a.dcm", "contours": "contours"}[kind]
    scan = read_grid(tmp_path / "slices")
    content, rng, reasons = (tmp_path / path).read_bytes(), np.random.default_rng(3), []
    for _ in range(120):
        (tmp_path / path).write_bytes(damaged(content, rng))
        try:
            read_dicom_labels(tmp_path / path, scan) if kind == "contours" else read_ct((tmp_path / path).parent)
        except CaseError as error:
            reasons.append(str(error))
    assert len(reasons) > 20
    assert not any(word in reason for reason in reasons for word in ("secret", "Secret", "1.2.", "\n", str(tmp_path)))
