"""`meddiff datasets`, `download` and `stage index`: what they print and write, and the table in the documentation."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.datasets import PUBLISHED
from meddiff.datasets.catalogue import MARKER, as_markdown
from meddiff.datasets.index import read_manifest
from tests.cli.test_main import ROOT, meddiff


@pytest.fixture
def archives(tmp_path):
    """Two datasets that share a scan, one of them with too few cases, and a folder that is no dataset."""
    rng = np.random.default_rng(0)
    shared, own = (sitk.GetImageFromArray(rng.integers(-1000, 1000, (4, 6, 8)).astype(np.int16)) for _ in range(2))
    for path, image in (
        ("abdomenct-1k/AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz", shared),
        ("abdomenct-1k/AbdomenCT-1K-ImagePart2/Case_00002_0000.nii.gz", own),
        ("msd-liver/Task03_Liver/imagesTr/liver_0.nii.gz", shared),
        ("msd-liver/Task03_Liver/labelsTr/liver_0.nii.gz", sitk.Cast(shared > 0, sitk.sitkUInt8)),
        ("others/a.nii.gz", own),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(tmp_path / path))
    return tmp_path


def test_all_datasets_below_a_folder_are_indexed_without_a_configuration(archives):
    manifest = archives / "out" / "manifest.tsv"
    done = meddiff("stage", "index", "--root", archives, "--out", manifest)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "abdomenct-1k: 2 cases, 1060 fewer than the 1062 expected, 1 quarantined",
        "msd-liver: 1 cases, 130 fewer than the 131 expected",
    ]
    cases = {case.id: case for case in read_manifest(manifest)}
    assert cases["abdomenct-1k_Case-00001"].quarantine == "the same scan as msd-liver_liver-0"
    assert cases["abdomenct-1k_Case-00002"].quarantine == ""
    assert cases["msd-liver_liver-0"].lesion_values == (2,)
    with (archives / "out" / "manifest.inventory.tsv").open() as file:
        assert [row["missing"] for row in csv.DictReader(file, delimiter="\t")] == ["1060", "130"]


def test_a_configuration_may_add_to_the_folder_and_wins_over_it(archives):
    config = archives / "own.yaml"
    entry = {"name": "mine", "root": str(archives / "others"), "region": "abdomen"}
    config.write_text(json.dumps({"data": {"datasets": [entry]}, "machine": {"data_shards": 2}}))
    done = meddiff("stage", "index", "--config", config, "--root", archives, "--out", archives / "m.tsv")
    assert done.returncode == 0, done.stderr
    cases = read_manifest(archives / "m.tsv")
    assert {case.dataset for case in cases} == {"mine", "abdomenct-1k", "msd-liver"}
    assert {case.shard for case in cases} <= {0, 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stage", "index", "--out", "x"), "give --config"),
        (("stage", "index", "--root", "nowhere", "--out", "x"), "--root nowhere: expected folders"),
        (("download", "knees", "--out", "x"), "'knees' is no dataset of the registry; choose from structseg"),
    ],
)
def test_what_the_user_can_mend_is_one_line(arguments, words):
    done = meddiff(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr


def test_the_datasets_are_listed_with_what_is_on_this_disk(archives):
    table = meddiff("datasets", "--root", archives).stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == [dataset.name for dataset in PUBLISHED]
    assert table[1 + [d.name for d in PUBLISHED].index("abdomenct-1k")].split()[:4] == [
        "abdomenct-1k",
        "abdomen",
        "1062",
        "2",
    ]
    records = {
        record["name"]: record for record in json.loads(meddiff("datasets", "--root", archives, "--json").stdout)
    }
    assert (records["msd-liver"]["found"], records["msd-liver"]["expected"]) == (1, 131)
    assert records["word"]["found"] == 0
    assert records["ct-rate"]["licence"] == "CC BY-NC-SA 4.0"


def test_a_folder_with_another_layout_is_named_below_the_list(tmp_path):
    (tmp_path / "btcv" / "scans").mkdir(parents=True)
    last = meddiff("datasets", "--root", tmp_path).stdout.splitlines()[-1]
    assert last.startswith("data.datasets: btcv: expected RawData/Training/img/img*.nii.gz")
    assert "found scans/" in last


def test_without_a_folder_nothing_is_said_about_what_was_found():
    records = json.loads(meddiff("datasets", "--json").stdout)
    assert {record["found"] for record in records} == {None}


def test_of_a_dataset_that_needs_a_registration_the_steps_are_printed(tmp_path):
    done = meddiff("download", "segrap2023", "--out", tmp_path / "segrap2023")
    assert done.returncode == 0
    assert "https://segrap2023.grand-challenge.org" in done.stdout
    assert "send the agreement" in done.stdout
    assert not (tmp_path / "segrap2023").exists()


def test_the_table_in_the_documentation_is_that_of_the_registry():
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    table = MARKER + text.split(MARKER)[1].split("\n\n## ")[0]
    assert table.strip() == as_markdown().strip(), "replace it by the output of `meddiff datasets --markdown`"


def test_duplicates_that_are_known_and_were_not_found_are_a_line_of_the_log(tmp_path):
    names = [f"abdomenct-1k/Case_{n:05d}_0000.nii.gz" for n in range(1062)]
    names += [f"msd-liver/imagesTr/liver_{n}.nii.gz" for n in range(131)]
    for name in names:  # empty, so that nobody can say which are the same
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).touch()
    done = meddiff("stage", "index", "--root", tmp_path / "raw", "--out", tmp_path / "manifest.tsv")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "duplicates" in line]
    assert line.endswith(
        "0 of 131 known duplicates of MSD-Liver found in AbdomenCT-1K: "
        "test scans of MSD-Liver may be in the pretraining"
    )
    splits = [case.split for case in read_manifest(tmp_path / "manifest.tsv") if case.dataset == "msd-liver"]
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (105, 0, 26)
