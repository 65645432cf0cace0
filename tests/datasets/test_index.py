"""The manifest: names, splits and shards that do not move when cases are added."""

import pytest

from meddiff.config import DataConfig, DatasetConfig, Region
from meddiff.datasets.index import find_cases, read_manifest, write_manifest
from meddiff.errors import UserError


def own_folder(tmp_path, names):
    for name in names:
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    entry = DatasetConfig(name="mine", root=tmp_path / "mine", region=Region.CHEST)
    return DataConfig(datasets=(entry,))


def test_a_folder_of_scans_needs_four_lines(tmp_path):
    config = own_folder(tmp_path, ["a.nii.gz", "b_1.nrrd", "series/1.dcm", ".hidden"])
    cases = find_cases(config, tmp_path, 0)
    assert [case.case for case in cases] == ["a", "b-1", "series"]
    assert all(case.region == Region.CHEST for case in cases)


def test_an_official_split_wins(tmp_path):
    for subject in ("s0015", "s0024", "s0028", "s0029"):
        path = tmp_path / "demo-trunk" / subject / "ct.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()
    cases = find_cases(DataConfig(datasets=(DatasetConfig(name="demo-trunk"),)), tmp_path, 0)
    assert {case.case: case.split for case in cases} == {
        "s0015": "test",
        "s0024": "val",
        "s0028": "train",
        "s0029": "test",
    }


def test_the_manifest_reads_back(tmp_path):
    cases = find_cases(own_folder(tmp_path, ["a.nii.gz", "b.nii.gz"]), tmp_path, 0)
    write_manifest(cases, tmp_path / "manifest.tsv")
    assert read_manifest(tmp_path / "manifest.tsv") == cases


@pytest.mark.parametrize("columns", ["dataset\tcase\timage", "{columns}\tmore"])
def test_a_manifest_with_other_columns_is_refused(tmp_path, columns):
    write_manifest([], tmp_path / "manifest.tsv")
    header = columns.format(columns=(tmp_path / "manifest.tsv").read_text().strip())
    values = ["0"] * len(header.split("\t"))
    values[3:4] = ["chest"]
    (tmp_path / "old.tsv").write_text(header + "\n" + "\t".join(values) + "\n")
    with pytest.raises(UserError, match="not a manifest of this version of meddiff"):
        read_manifest(tmp_path / "old.tsv")


def test_mistakes_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_cases(
            DataConfig(datasets=(DatasetConfig(name="x", root=tmp_path / "no", region=Region.HAN),)), tmp_path, 0
        )
    with pytest.raises(UserError, match="not in the registry"):
        find_cases(DataConfig(datasets=(DatasetConfig(name="x"),)), tmp_path, 0)
    with pytest.raises(UserError, match="needs a root"):
        find_cases(DataConfig(datasets=(DatasetConfig(name="amos22"),)), tmp_path, 0)
