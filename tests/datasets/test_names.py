"""How own scans get their names: any characters, equal names in several folders, nobody's name changed by it."""

import os
import sys
from pathlib import Path

import pytest

from meddiff.config import DataConfig, DatasetConfig, Region, load_config
from meddiff.datasets.index import find_cases, read_manifest, write_manifest
from meddiff.datasets.names import LONGEST, names_of, own_name
from meddiff.errors import UserError


def names(*paths):
    found = names_of({Path(path): own_name(Path(path)) for path in paths})
    return [found[Path(path)] for path in paths]


def index(root, paths, **settings):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    entry = DatasetConfig(name="mine", root=root, region=Region.CHEST, **settings)
    return find_cases(DataConfig(datasets=(entry,)), root, 0)


def test_names_that_were_different_stay_as_they_were():
    paths = ["lung_001.nii.gz", "a.b.c.nrrd", "it's; $(x).mha", "Müller", "ct.nii.gz", "p 7/ct.nii.gz", "患者.nii"]
    assert names(*paths) == ["lung-001", "a-b-c", "it-s-x", "M-ller", "ct", "p-7", "case"]


def test_equal_file_names_are_called_as_their_folders():
    assert names("pat0/volume.nii.gz", "pat1/volume.nii.gz", "pat2/other.nii.gz") == ["pat0", "pat1", "other"]
    assert names("c/pat0/x.nrrd", "d/pat0/x.nrrd") == ["c-pat0", "d-pat0"]


def test_where_a_folder_holds_several_scans_folder_and_file_name_them():
    paths = [f"pat{p}/{scan}.nii.gz" for p in (0, 1) for scan in ("thin", "thick")]
    assert names(*paths) == ["pat0-thin", "pat0-thick", "pat1-thin", "pat1-thick"]


@pytest.mark.parametrize(
    "paths",
    [("scan 1.nii.gz", "scan_1.nii.gz"), ("患者一.nii.gz", "患者二.nii.gz"), ("a/x.nii", "a/x.nrrd", "a/x.mha")],
)
def test_names_that_differ_in_lost_characters_alone_get_a_digest(paths):
    found = names(*paths, "other.nii.gz")
    assert len(set(found)) == len(paths) + 1
    assert all(name.rpartition("-")[0] == own_name(Path(path)) for path, name in zip(paths, found, strict=False))
    assert names(*reversed(paths), "z.nii")[:-1] == found[:-1][::-1]  # of the path alone


def test_a_name_leaves_room_for_what_stages_add_to_it():
    first, second = (f"{'x' * 230}{end}.nii.gz" for end in "ab")
    found = names(first, second)
    assert len(set(found)) == 2
    assert max(map(len, found)) <= LONGEST + 9


def test_a_path_that_is_not_utf8_is_quarantined_and_the_others_go_on(tmp_path):
    (tmp_path / "fine.nii.gz").touch()
    with open(os.path.join(os.fsencode(tmp_path), b"M\xfcller.nii.gz"), "wb"):
        pass
    cases = index(tmp_path, [])
    write_manifest(cases, tmp_path / "manifest.tsv")
    bad, fine = read_manifest(tmp_path / "manifest.tsv")
    assert bad.image.exists()
    assert bad.quarantine == "its path is not UTF-8, as programs expect; rename it"
    assert (fine.case, fine.quarantine) == ("fine", "")


def test_two_copies_of_a_published_dataset_are_still_a_mistake(tmp_path):
    for copy in ("one", "two"):
        (tmp_path / copy / "imagesTr").mkdir(parents=True)
        (tmp_path / copy / "imagesTr" / "lung_001.nii.gz").touch()
    with pytest.raises(UserError, match="are both case 'lung-001'; rename one"):
        find_cases(DataConfig(datasets=(DatasetConfig(name="msd-lung", root=tmp_path),)), tmp_path, 0)


NNUNET = [f"images{part}/lung_{n:03d}_0000.nii.gz" for part in ("Tr",) for n in range(3)]
NNUNET_LABELS = [f"labelsTr/lung_{n:03d}.nii.gz" for n in range(2)]


def test_nnunets_names_can_be_told(tmp_path):
    settings = {"image": "imagesTr/*", "case": "imagesTr/(.+)_0000", "lesion": "labelsTr/{case}.nii.gz"}
    cases = index(tmp_path, NNUNET + NNUNET_LABELS, **settings)
    assert [case.case for case in cases] == ["lung-000", "lung-001", "lung-002"]
    labels = [tmp_path / path for path in NNUNET_LABELS]
    assert [case.lesion for case in cases] == [*labels, None]


@pytest.mark.parametrize(
    "settings",
    [{"lesion": "labelsTr/{name}"}, {"case": "(patient.+)_0000"}, {"patient": r"(P\d+)_"}, {"patient": "PatientID"}],
)
def test_a_pattern_that_fits_nothing_is_told_in_one_line(tmp_path, settings):
    ((key, pattern),) = settings.items()
    with pytest.raises(UserError) as caught:
        index(tmp_path, NNUNET + NNUNET_LABELS, image="imagesTr/*", **settings)
    line = f"data.datasets: mine: `{key}`, {pattern}, fits none of its 3 cases, such as imagesTr/lung_000_0000.nii.gz"
    assert str(caught.value) == f"{line}; correct it"


def test_of_a_published_dataset_that_lies_here_without_labels_it_is_said(tmp_path, caplog):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "lung_001.nii.gz").touch()
    find_cases(DataConfig(datasets=(DatasetConfig(name="msd-lung", root=tmp_path),)), tmp_path, 0)
    assert "`lesion`, labelsTr/{name}, fits none of its 1 cases" in caplog.text


def test_scans_of_which_no_patient_is_known_are_counted(tmp_path, caplog):
    cases = index(tmp_path, ["P1_a.nii.gz", "P1_b.nii.gz", "else.nii.gz"], patient=r"(P\d+)_")
    assert len({case.split for case in cases if case.case.startswith("P1")}) == 1
    assert "says of 1 of 3 cases nothing, such as else" in caplog.text


BEFORE_3_13 = pytest.mark.skipif(sys.version_info >= (3, 13), reason="a pattern from Python 3.13 on")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("image: /abs/*.nii", "is no glob below the root"),
        pytest.param('image: "a/**b"', "is no glob below the root", marks=BEFORE_3_13),
        ("lesion: labels/{nam}", "in braces may stand name, parent or case"),
        ("lesion: labels/{name", "in braces may stand name, parent or case"),
        ("case: imagesTr/.+", "has 0 groups; put what names the case"),
        ("case: (x", "is no regular expression"),
    ],
)
def test_patterns_that_cannot_be_are_one_line_before_anything_is_read(tmp_path, line, words):
    file = tmp_path / "config.yaml"
    file.write_text(f"data:\n  datasets:\n    - name: mine\n      root: /data\n      region: chest\n      {line}\n")
    with pytest.raises(UserError, match=words) as caught:
        load_config(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", ["*/ct.nii.gz", "*/*.nii.gz"])
def test_a_scan_that_has_not_been_fetched_is_a_case_as_the_others(tmp_path, image):
    """A link to nothing, whose case is quarantined when it is read, and not one scan fewer."""
    (tmp_path / "p2").mkdir()
    (tmp_path / "p2" / "ct.nii.gz").symlink_to(tmp_path / ".git" / "annex" / "objects" / "none")
    assert [case.case for case in index(tmp_path, ["p1/ct.nii.gz"], image=image)] == ["p1", "p2"]
