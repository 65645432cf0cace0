"""A dataset of which no scan can be used does not pass for one that went well."""

from pathlib import Path

import pytest

from meddiff.config import Region
from meddiff.datasets.fingerprints import THE_SAME_AS
from meddiff.datasets.index import Case, write_manifest
from meddiff.errors import UserError
from meddiff.machine.shards import COLUMNS, DONE, QUARANTINED
from meddiff.machine.tsv import read_tsv, write_tsv
from meddiff.report.cohort import write_cohort
from meddiff.report.layout import Results


def make_results(root, cases, rows):
    """Write a manifest of `dataset/case` names, and tables of `stage, id, reason`."""
    manifest = [
        Case(*name.split("/"), Path(name), Region.CHEST, "pretraining", "train", 0, quarantine=why)
        for name, why in cases.items()
    ]
    write_manifest(manifest, root / "data" / "manifest.tsv")
    for stage in ("resample", "store"):
        table = [
            {"id": name, "status": QUARANTINED if reason else DONE, "path": "x", "seconds": 0, "reason": reason}
            for of_stage, name, reason in rows
            if of_stage == stage
        ]
        write_tsv(table, COLUMNS, root / "data" / stage / "shard-000.tsv")
    return Results(root)


def test_used_scans_are_counted(tmp_path):
    cases = {"own/a": "", "own/b": "", "copy/a": f"{THE_SAME_AS}own_a"}
    rows = [("resample", "own_b", "truncated"), ("store", "own_a_chest", ""), ("resample", "copy_a", THE_SAME_AS)]
    write_cohort(make_results(tmp_path, cases, rows), tmp_path / "cohort.tsv")
    counts = {row["dataset"]: (row["found"], row["used"], row["copies"]) for row in read_tsv(tmp_path / "cohort.tsv")}
    assert counts == {"own": ("2", "1", "0"), "copy": ("1", "0", "1")}


@pytest.mark.parametrize(("stage", "name"), [("resample", "bad_a"), ("store", "bad_a_chest")])
def test_a_dataset_of_which_none_can_be_used_is_told_with_a_reason(tmp_path, stage, name):
    rows = [("store", "own_a_chest", ""), (stage, name, "truncated")]
    results = make_results(tmp_path, {"own/a": "", "bad/a": "", "bad/b": ""}, rows)
    with pytest.raises(UserError) as caught:
        write_cohort(results, tmp_path / "cohort.tsv")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("bad: none of its 2 scans can be used, the first for this reason: truncated; ")
