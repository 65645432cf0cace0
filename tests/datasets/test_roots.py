"""What lies in a root: every change of a scan is seen, from listings alone."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from meddiff.config import DatasetConfig, Region
from meddiff.datasets import resolve
from meddiff.datasets.roots import state_of

LAYOUTS = {
    "*": ["a.nii.gz", "b.nii.gz"],
    "*/ct.nii.gz": ["p1/ct.nii.gz", "p2/ct.nii.gz"],
    "**/*.nrrd": ["x/y/a.nrrd", "z/b.nrrd"],
    "*/*/": ["p1/series/1.dcm", "p2/series/1.dcm"],
}


def plant(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def state(root, image="*", **settings):
    return state_of(resolve(DatasetConfig(name="mine", root=root, region=Region.CHEST, image=image, **settings), root))


@pytest.mark.parametrize("image", LAYOUTS)
def test_new_replaced_and_removed_scans_change_the_state_and_nothing_else_does(tmp_path, image):
    plant(tmp_path, LAYOUTS[image])
    (tmp_path / LAYOUTS[image][0]).parent.joinpath(".DS_Store")
    first = state(tmp_path, image)
    assert first == state(tmp_path, image) != ""
    one = tmp_path / LAYOUTS[image][1]
    kept = one.stat()
    one.rename(tmp_path / "aside")
    (tmp_path / "aside").rename(one)
    os.utime(one.parent, ns=(kept.st_atime_ns, kept.st_mtime_ns + 10**9))  # a DICOM folder in which a file was replaced
    replaced = state(tmp_path, image)
    assert (replaced != first) == (image == "*/*/")
    if image != "*/*/":
        one.write_text("replaced in its place")
        replaced = state(tmp_path, image)
        assert replaced != first
    shutil.rmtree(one.parent) if one.parent != tmp_path else one.unlink()
    removed = state(tmp_path, image)
    assert removed not in (first, replaced)
    plant(tmp_path, [LAYOUTS[image][1]])
    assert state(tmp_path, image) != removed


def test_lesion_labels_belong_to_it(tmp_path):
    plant(tmp_path, ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/a.nii.gz", "notes/a.txt"])
    settings = {"image": "imagesTr/*", "lesion": "{parent}/../labelsTr/{case}.nii.gz"}
    first = state(tmp_path, **settings)
    plant(tmp_path, ["labelsTr/b.nii.gz"])
    assert state(tmp_path, **settings) != first
    with_label = state(tmp_path, **settings)
    plant(tmp_path, ["notes/b.txt"])
    assert state(tmp_path, **settings) == with_label


def test_a_root_that_is_away_or_empty_has_no_state(tmp_path):
    assert state(tmp_path / "away") == ""
    assert state(tmp_path) == ""


def test_each_folder_is_listed_once_and_no_file_is_opened(tmp_path, monkeypatch):
    plant(tmp_path, [f"p{number}/{name}.nii.gz" for number in range(20) for name in ("ct", "mask", "more")])
    listed, scandir = Counter(), os.scandir

    def counted(path):
        listed[Path(path)] += 1
        return scandir(path)

    monkeypatch.setattr("meddiff.datasets.roots.os.scandir", counted)
    monkeypatch.setattr(Path, "open", None)
    assert state(tmp_path, "*/ct.nii.gz")
    assert listed[tmp_path / "p7"] == 1
    assert sum(listed.values()) <= 20 + 3
