"""Methods are compared on the cases that all of them have, and what some lack is said."""

import pandas as pd

from meddiff.metrics.common_cases import common_cases, common_ids


def table(*ids):
    return pd.DataFrame({"id": list(ids), "dice": range(len(ids))})


def test_only_cases_that_all_have_count_and_the_others_are_named(caplog):
    tables = {"a": table("1", "2", "3"), "b": table("3", "1"), "c": table("3", "2", "1", "4")}
    common = common_cases("Table 3", tables)
    assert common.ids == {"1", "3"}
    assert {name: rows["id"].tolist() for name, rows in common.select(tables).items()} == {
        "a": ["1", "3"],
        "b": ["3", "1"],
        "c": ["3", "1"],
    }
    assert common.rows(tables["c"]).tolist() == [True, False, True, False]
    assert common.note == "; Table 3 on the 2 of 4 cases that all have: a lacks 1 (4), b lacks 2 (2, 4)"
    assert [record.message for record in caplog.records] == [
        "Table 3: a lacks 1 of 4 cases: 4",
        "Table 3: b lacks 2 of 4 cases: 2, 4",
    ]


def test_where_nothing_is_missing_nothing_is_said(caplog):
    common = common_cases("Table 3", {"a": table("1", "2"), "b": table("2", "1")})
    assert (common.ids, common.note, caplog.text) == ({"1", "2"}, "", "")


def test_a_method_that_was_not_run_takes_no_case_from_the_others():
    tables = {"a": table("1"), "b": pd.DataFrame(), "c": pd.DataFrame(columns=["id", "region"])}
    common = common_cases("Table 4", tables)
    assert (common.ids, common.note) == ({"1"}, "")
    assert [len(rows) for rows in common.select(tables).values()] == [1, 0, 0]
    assert common_cases("Table 4", {"b": pd.DataFrame()}).ids == frozenset()


def test_a_note_names_a_few_and_the_log_all(caplog):
    common = common_ids("T", {"a": [str(i) for i in range(9)], "b": ["8"]})
    assert common.note.endswith("b lacks 8 (0, 1, 2, 3, 4, ...)")
    assert "0, 1, 2, 3, 4, 5, 6, 7" in caplog.text
