"""Missing and surplus cases against the expected counts."""

import csv
from pathlib import Path

from meddiff.config import Region
from meddiff.datasets.index import Case
from meddiff.datasets.inventory import in_words, inventory, shortfalls, write_inventory


def cases(dataset, count, **facts):
    common = (Path("ct.nii.gz"), Region.CHEST, "pretraining", "train", 0)
    return [Case(dataset, str(i), *common, **facts) for i in range(count)]


def test_missing_surplus_and_quarantined_cases_are_counted(tmp_path):
    found = [*cases("chaos", 18), *cases("btcv", 32), *cases("mine", 3, quarantine="the same scan as chaos_1")]
    rows = inventory(found)
    assert [(r["expected"], r["found"], r["missing"], r["surplus"], r["quarantined"]) for r in rows] == [
        (20, 18, 2, 0, 0),
        (30, 32, 0, 2, 0),
        ("", 3, 0, 0, 3),
    ]
    write_inventory(rows, tmp_path / "inventory.tsv")
    with (tmp_path / "inventory.tsv").open() as file:
        read = list(csv.DictReader(file, delimiter="\t"))
    assert [row["train"] for row in read] == ["18", "32", "3"]


def test_a_line_tells_what_is_wrong():
    assert [in_words(row) for row in inventory([*cases("chaos", 18), *cases("btcv", 30)])] == [
        "chaos: 18 cases, 2 fewer than the 20 expected",
        "btcv: 30 cases",
    ]


def liver_archives(copies, abdomens=1062, livers=131):
    marked = [*cases("abdomenct-1k", copies, quarantine="the same scan as msd-liver_liver-1")]
    return [*marked, *cases("abdomenct-1k", abdomens - copies), *cases("msd-liver", livers)]


def test_known_duplicates_that_were_not_found_are_told_of():
    assert shortfalls(liver_archives(120)) == [
        "120 of 131 known duplicates of MSD-Liver found in AbdomenCT-1K: "
        "test scans of MSD-Liver may be in the pretraining"
    ]
    assert shortfalls(liver_archives(131)) == []


def test_of_archives_that_are_not_whole_no_number_of_duplicates_is_expected():
    assert shortfalls(liver_archives(0, livers=130)) == []
    assert shortfalls(liver_archives(0, abdomens=1000)) == []
    assert shortfalls(cases("abdomenct-1k", 1062)) == []
