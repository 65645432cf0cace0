"""Which slices of a folder are one scan, and that none is left out without a word."""

import resource
from pathlib import Path

import numpy as np
import pytest

from meddiff.errors import CaseError
from meddiff.machine.notes import noted
from meddiff.volumes.dicom.series import choose_series
from meddiff.volumes.volumes import read_ct, to_zyx
from tests.volumes.dicom.files import new_file, write_enhanced, write_series

HU = np.random.default_rng(0).integers(-1000, 1000, (8, 10, 12))
CORONAL = (1, 0, 0, 0, 0, -1)
ONE = {"SeriesInstanceUID": "1.2.3"}


def tilt(sine):
    return ["1", "0", "0", "0", f"{np.sqrt(1 - sine * sine):.7f}", f"{sine:.7f}"]


@pytest.mark.parametrize(
    "tags_of",
    [
        lambda z: {"ImageOrientationPatient": tilt(-0.1050001 if z < 5 else -0.1049999)},
        lambda z: {"ImageOrientationPatient": tilt(-0.1050001 if z % 2 else -0.1049999)},
        lambda z: {"PixelSpacing": ["4.985", "4.985"] if z < 5 else ["4.9849999", "4.9849999"]},
        lambda z: {"ImageOrientationPatient": tilt(-0.105 + 1e-5 * z)},
    ],
    ids=["two halves", "in turns", "pixel size", "drift"],
)
def test_last_decimals_of_direction_and_pixel_size_make_no_other_series(tmp_path, tags_of):
    write_series(tmp_path, HU, edit=lambda z, tags: [setattr(tags, *item) for item in tags_of(z).items()])
    choice = choose_series(tmp_path)
    assert len(choice.series.planes) == len(HU)
    assert (choice.left_out, choice.missing) == ((), "")


def test_where_the_voxels_lie_does_not_depend_on_the_names_of_the_files(tmp_path):
    sines = np.linspace(-0.1051, -0.1049, 8)
    for folder, turn in (("up", 0), ("mixed", 3)):
        write_series(
            tmp_path / folder,
            np.roll(HU, turn, 0),
            edit=lambda z, tags, turn=turn: setattr(tags, "ImageOrientationPatient", tilt(sines[(z - turn) % 8])),
            positions_mm=[(0, 0, 3.0 * ((z - turn) % 8)) for z in range(8)],
        )
    grids = [choose_series(tmp_path / folder).series.grid for folder in ("up", "mixed")]
    np.testing.assert_array_equal(grids[0].axes_mm, grids[1].axes_mm)


def cut(size):
    return lambda path: path.write_bytes(path.read_bytes()[:size])


def lead_nowhere(path):
    path.unlink()
    path.symlink_to("../.git/annex/objects/1-7.dcm")


@pytest.mark.parametrize("name", ["{number}-{z}.dcm", "IM{z}", "1.2.840.{z}"])
@pytest.mark.parametrize("damage", [cut(100), cut(140), cut(500), cut(700), cut(0), lead_nowhere])
def test_a_last_slice_that_cannot_be_read_is_missed(tmp_path, name, damage):
    write_series(tmp_path, HU, name=name)
    damage(tmp_path / name.format(number=1, z=7))
    with pytest.raises(CaseError, match=r"slices of the series are missing.*data\.allow_missing_slices"):
        read_ct(tmp_path)
    with noted() as notes:
        read = to_zyx(read_ct(tmp_path, allow_missing=True))
    np.testing.assert_array_equal(read, HU[:7])
    assert len(notes) == 1
    assert "slices of the series are missing (1 " in notes[0]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"PixelSpacing": [4.0, 4.0]}, 3),
        ({"ImageOrientationPatient": tilt(-0.3)}, 3),
        ({"Rows": 5, "PixelData": bytes(120)}, 3),
        ({"ImageOrientationPatient": None}, 3),
        ({"Modality": None}, 3),
    ],
    ids=["pixels", "tilt", "size", "no direction", "no modality"],
)
def test_slices_of_another_kind_are_missed_where_no_slice_that_is_read_lies(tmp_path, change, count):
    def edit(z, tags):
        for name, value in change.items() if z >= 5 else ():
            delattr(tags, name) if value is None else setattr(tags, name, value)

    write_series(tmp_path, HU, edit=edit)
    with pytest.raises(CaseError, match=rf"missing \({count} have another"):
        read_ct(tmp_path)
    np.testing.assert_array_equal(to_zyx(read_ct(tmp_path, allow_missing=True)), HU[:5])


def test_nothing_is_missing_where_another_picture_of_the_same_slices_is_left_out(tmp_path):
    write_series(tmp_path, HU, **ONE)
    write_series(tmp_path, HU[:5], name="wide{z}", PixelSpacing=[4.0, 4.0], **ONE)
    write_series(tmp_path, HU[:1], name="capture{z}", cosines=CORONAL, **ONE)
    write_series(
        tmp_path,
        HU[:1],
        name="report{z}",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
        edit=lambda _, tags: delattr(tags, "ImagePositionPatient"),
        Rows=5,
        **ONE,
    )
    choice = choose_series(tmp_path)
    assert choice.missing == ""
    assert len(choice.left_out) == 3
    np.testing.assert_array_equal(to_zyx(read_ct(tmp_path)), HU)


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.3"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "ImagePositionPatient": None},
        {"RescaleType": "MGML"},
    ],
    ids=["capture", "capture of frames", "screen", "screen without a place", "iodine"],
)
def test_what_lies_on_the_slices_and_is_no_ct_is_left_out(tmp_path, tags):
    write_series(tmp_path, HU[:3], name="a{z}", **ONE, **tags)
    write_series(tmp_path, HU, name="b{z}", **ONE)
    choice = choose_series(tmp_path)
    assert choice.missing == ""
    assert len(choice.left_out) == 1
    np.testing.assert_array_equal(to_zyx(read_ct(tmp_path)), HU)


def test_a_ct_is_read_before_captures_of_all_its_slices_and_these_where_there_is_no_other(tmp_path):
    write_series(tmp_path, HU // 10, name="a{z}", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    np.testing.assert_array_equal(to_zyx(read_ct(tmp_path)), HU // 10)
    write_series(tmp_path, HU, name="b{z}")
    np.testing.assert_array_equal(to_zyx(read_ct(tmp_path)), HU)


@pytest.mark.parametrize("z", [3, 7])
def test_slices_without_a_rescale_among_others_with_one_are_refused(tmp_path, z):
    write_series(tmp_path, HU, edit=lambda number, tags: delattr(tags, "RescaleIntercept") if number == z else None)
    with pytest.raises(CaseError, match="1 of 8 slices have no RescaleIntercept"):
        read_ct(tmp_path)


def test_files_that_are_no_slices_are_counted_and_nothing_is_missing(tmp_path):
    write_series(tmp_path, HU)
    for name in ("notes.txt", "DICOMDIR", "._1-1.dcm", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"some text")
    directory = new_file(tmp_path / "index", "1.2.840.10008.1.3.10", "")
    directory.save_as(tmp_path / "index")
    choice = choose_series(tmp_path)
    assert (choice.left_out, choice.missing) == (("2 files that are no DICOM",), "")


def test_parts_of_a_concatenation_are_one_scan_and_other_multi_frame_files_are_not(tmp_path):
    for name, tags in {"together": {"ConcatenationUID": "1.2.9"}, "phases": {}, "apart": {}}.items():
        (tmp_path / name).mkdir()
        write_enhanced(tmp_path / name / "a.dcm", HU[:4], **ONE, **tags)
        write_enhanced(tmp_path / name / "b.dcm", HU[4:], start_mm=0.0 if name == "phases" else 12.0, **ONE, **tags)
    np.testing.assert_array_equal(to_zyx(read_ct(tmp_path / "together")), HU)
    choice = choose_series(tmp_path / "phases")
    assert (len(choice.series.planes), choice.missing) == (4, "")
    assert choice.left_out == ("series 1 (axial, 4 slices, 3.00 mm apart)",)
    with pytest.raises(CaseError, match=r"slices of the series are missing \(4 have another"):
        read_ct(tmp_path / "apart")


def test_a_length_beyond_the_end_of_the_file_does_not_fill_the_memory(tmp_path):
    """Read as the file says, the bytes would take the memory of the job: 4 GB of voxels in a file of 1 kB."""
    write_series(tmp_path, HU)
    path = tmp_path / "1-3.dcm"
    content = path.read_bytes()
    place = content.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    path.write_bytes(content[:place] + b"\xf0\xff\xff\xff" + content[place + 4 :])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, limits[1]))
    try:
        np.testing.assert_array_equal(to_zyx(read_ct(tmp_path)), HU)  # they are all there
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("steps", [(1, 2), (1, 1, 2)])
def test_of_a_few_slices_with_a_gap_the_reason_is_that_some_are_missing(tmp_path, steps):
    places = np.cumsum([0, *steps])
    write_series(tmp_path, HU[: len(places)], positions_mm=[(0, 0, 3.0 * place) for place in places])
    with pytest.raises(CaseError, match=r"uneven slice spacing, 3.00 to 6.00 mm: slices are missing"):
        read_ct(tmp_path)


def test_phases_in_one_series_and_one_folder_are_refused(tmp_path):
    write_series(tmp_path, HU, **ONE)
    write_series(tmp_path, HU + 20, name="phase{z}", **ONE)
    with pytest.raises(CaseError, match="duplicate slices: 8 lie"):
        read_ct(tmp_path)


@pytest.mark.parametrize(
    "reason", ["modality is not given", "SeriesInstanceUID of its own", "2 levels deeper", "links"]
)
def test_a_folder_that_is_no_series_is_refused_with_what_to_mend(tmp_path, reason):
    case = tmp_path / "case"
    if reason == "modality is not given":
        write_series(case, HU, edit=lambda _, tags: delattr(tags, "Modality"))
    elif reason == "SeriesInstanceUID of its own":
        write_series(case, HU, edit=lambda z, tags: setattr(tags, "SeriesInstanceUID", f"1.2.3.{z}"))
    elif reason == "2 levels deeper":
        write_series(case / "Secret^Name" / "1.2.3", HU)
    else:
        write_series(case, HU)
        for path in case.iterdir():
            lead_nowhere(path)
    with pytest.raises(CaseError, match=reason) as caught:
        read_ct(case)
    assert not any(word in str(caught.value) for word in ("Secret", "1.2.", str(tmp_path)))


def test_a_slice_that_is_a_case_of_its_own_is_refused_with_what_to_mend(tmp_path):
    write_series(tmp_path, HU)
    with pytest.raises(CaseError, match="a DICOM file by itself: put the files of each scan into a folder"):
        read_ct(tmp_path / "1-0.dcm")
