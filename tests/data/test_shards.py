"""Shards: skip what is done, quarantine what is bad, stop for faults of the machine."""

import errno
from dataclasses import replace

import pytest

from meddiff.data.shards import Item, done_rows, read_index, run_shard
from meddiff.errors import CaseError


class Work:
    """Writes each item's id, and remembers what it was asked for."""

    def __init__(self, faults=None):
        self.calls, self.faults = [], faults or {}

    def __call__(self, item):
        self.calls.append(item.id)
        if item.id in self.faults:
            raise self.faults[item.id]
        item.output.write_text(item.id)


def items(tmp_path, names="abc"):
    for name in names:
        if not (tmp_path / f"{name}.in").exists():
            (tmp_path / f"{name}.in").write_text(name)
    return [Item(name, (tmp_path / f"{name}.in",), tmp_path / f"{name}.out") for name in names]


def test_what_is_done_is_not_done_again(tmp_path):
    run_shard("s", items(tmp_path), {"x": 1}, Work(), tmp_path / "i.tsv")
    again = Work()
    rows = run_shard("s", items(tmp_path), {"x": 1}, again, tmp_path / "i.tsv")
    assert again.calls == []
    assert [row.status for row in rows] == ["done"] * 3
    assert read_index(tmp_path / "i.tsv") == rows


def test_other_settings_inputs_or_outputs_do_the_case_again(tmp_path):
    run_shard("s", items(tmp_path), {"x": 1}, Work(), tmp_path / "i.tsv")
    (tmp_path / "a.in").write_text("longer than before")
    (tmp_path / "b.out").write_text("cut")
    (tmp_path / "b.out").write_text("")
    again = Work()
    run_shard("s", items(tmp_path), {"x": 1}, again, tmp_path / "i.tsv")
    assert again.calls == ["a", "b"]
    moved = Work()
    run_shard("s", [replace(item, facts=("test",)) for item in items(tmp_path)], {"x": 1}, moved, tmp_path / "i.tsv")
    assert moved.calls == ["a", "b", "c"]
    other = Work()
    run_shard("s", items(tmp_path), {"x": 2}, other, tmp_path / "i.tsv")
    assert other.calls == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (CaseError("no lungs"), "no lungs"),
        (ValueError("bad\nshape"), "ValueError: bad"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "FileNotFoundError: No such file"),
    ],
)
def test_a_bad_case_is_quarantined_and_the_rest_goes_on(tmp_path, fault, reason):
    run_shard("s", items(tmp_path), {}, Work({"b": fault}), tmp_path / "i.tsv")
    rows = read_index(tmp_path / "i.tsv")
    assert [row.status for row in rows] == ["done", "quarantined", "done"]
    assert rows[1].reason == reason
    assert [row.id for row in done_rows([tmp_path / "i.tsv"])] == ["a", "c"]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), MemoryError()])
def test_a_fault_of_the_machine_ends_the_job_and_keeps_what_is_done(tmp_path, fault):
    with pytest.raises(type(fault)):
        run_shard("s", items(tmp_path), {}, Work({"b": fault}), tmp_path / "i.tsv")
    assert not (tmp_path / "i.tsv").exists()
    again = Work()
    run_shard("s", items(tmp_path), {}, again, tmp_path / "i.tsv")
    assert again.calls == ["b", "c"]
