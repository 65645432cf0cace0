"""The line below a table that says what made it."""

from pathlib import Path

from meddiff.config import Config, Region
from meddiff.datasets.index import Case
from meddiff.report.layout import divided_by, scans_and_anatomy


def case(dataset, origin, name="1", **facts):
    return Case(dataset, name, Path("ct"), Region.CHEST, "pretraining", "test", 0, split_origin=origin, **facts)


def test_who_made_the_test_set_is_told_of_most_datasets_and_of_the_exceptions():
    random = "a random split by patient, seed 3"
    assert divided_by([case("btcv", random), case("btcv", random)]) == f"test set by {random}"
    others = [case("mayo2016", "the split of Noise2Sim"), case("btcv", random), case("word", random)]
    assert divided_by(others) == f"test set by {random}, that of mayo2016 by the split of Noise2Sim"
    assert divided_by([]) == "test set by nobody"


def test_duplicates_that_were_not_found_stand_below_every_table():
    counts = {"abdomenct-1k": 1062, "msd-liver": 131}
    cases = [case(name, "r", str(n)) for name, count in counts.items() for n in range(count)]
    assert "0 of 131 known duplicates" in scans_and_anatomy(Config(), cases)
    assert "duplicates" not in scans_and_anatomy(Config(), cases[:-1])
