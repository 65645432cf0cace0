"""Shards: skip what is done, quarantine what is bad, stop for faults of the machine, survive being killed."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meddiff.config import parse_config
from meddiff.datasets.index import find_cases, write_manifest
from meddiff.demo.phantom import make_phantom
from meddiff.errors import CaseError, TimeSliceEnded, UserError
from meddiff.machine import kernel_lock, locks
from meddiff.machine.files import write_json
from meddiff.machine.notes import note
from meddiff.machine.shards import COLUMNS, Item, MemoryBudget, done_rows, read_index, run_shard
from meddiff.machine.tsv import read_tsv
from meddiff.volumes import volumes

ROOT = Path(__file__).parents[2]


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


def test_an_input_may_move_to_another_folder_with_its_time(tmp_path):
    before = items(tmp_path)
    run_shard("s", before, {}, Work(), tmp_path / "i.tsv")
    shutil.copytree(tmp_path, tmp_path / "elsewhere")  # keeps the times
    after = [replace(item, inputs=(tmp_path / "elsewhere" / item.inputs[0].name,)) for item in before]
    again = Work()
    run_shard("s", after, {}, again, tmp_path / "i.tsv")
    assert again.calls == []
    after[0].inputs[0].touch()
    after[1] = replace(after[1], inputs=(after[1].inputs[0].rename(tmp_path / "elsewhere" / "other.in"),))
    run_shard("s", after, {}, again, tmp_path / "i.tsv")
    assert again.calls == ["a", "b"]


def test_the_number_of_shards_moves_no_finished_case(tmp_path):
    whole = items(tmp_path, "abcd")
    run_shard("s", whole, {}, Work(), tmp_path / "all.tsv")
    again, parts = Work(), (tmp_path / "odd.tsv", tmp_path / "even.tsv")
    for number, index in enumerate(parts):
        run_shard("s", whole[number::2], {}, again, index)
    assert again.calls == []
    assert [row.id for row in done_rows(parts)] == [row.id for row in done_rows([tmp_path / "all.tsv"])]


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


def test_links_to_nothing_in_a_folder_are_for_the_work_to_judge(tmp_path):
    some = items(tmp_path)
    folder = tmp_path / "slices"
    folder.mkdir()
    (folder / "1").write_text("a slice")
    (folder / "2").symlink_to("../.git/annex/2")
    some[1] = replace(some[1], inputs=(folder,))
    run_shard("s", some, {}, Work({"b": CaseError("a link to nothing")}), tmp_path / "i.tsv")
    assert [row.status for row in read_index(tmp_path / "i.tsv")] == ["done", "quarantined", "done"]
    run_shard("s", some, {}, Work(), tmp_path / "i.tsv")
    (tmp_path / ".git" / "annex").mkdir(parents=True)
    (tmp_path / ".git" / "annex" / "2").write_text("fetched")
    again = Work()
    run_shard("s", some, {}, again, tmp_path / "i.tsv")
    assert again.calls == ["b"]


@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_left_out_of_a_case_stands_in_its_row_also_when_it_was_done_before(tmp_path, threads):
    def work(item):
        if item.id == "b":
            note("3 slices of 9\nwere left out")
            note("2 series were left out")
        Work()(item)

    note("of no case")
    for _ in range(2):
        rows = run_shard("s", items(tmp_path), {}, work, tmp_path / "i.tsv", threads)
        assert [row.notes for row in rows] == ["", "3 slices of 9 were left out; 2 series were left out", ""]
        assert read_index(tmp_path / "i.tsv") == rows


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left"),
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError(),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        UserError("anatomy.weights: TotalSegmentator's weights are not here"),
        TimeSliceEnded("stopped at a checkpoint"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_what_is_no_fault_of_the_case_ends_the_job_and_keeps_what_is_done(tmp_path, fault):
    first = Work({"b": fault})
    with pytest.raises(type(fault)):
        run_shard("s", items(tmp_path), {}, first, tmp_path / "i.tsv")
    assert first.calls == ["a", "b"]
    assert not (tmp_path / "i.tsv").exists()
    again = Work()
    run_shard("s", items(tmp_path), {}, again, tmp_path / "i.tsv")
    assert again.calls == ["b", "c"]


def test_a_quarantined_case_is_tried_again_whenever_the_shard_runs(tmp_path, caplog):
    run_shard("s", items(tmp_path), {}, Work({"b": CaseError("unreadable")}), tmp_path / "i.tsv")
    assert f"s: 1 of 3 cases quarantined; their reasons stand in {tmp_path / 'i.tsv'}" in caplog.text
    again = Work()
    rows = run_shard("s", items(tmp_path), {}, again, tmp_path / "i.tsv")
    assert again.calls == ["b"]
    assert [row.status for row in rows] == ["done"] * 3


def test_a_quarantined_case_leaves_no_earlier_output_that_a_later_stage_would_take(tmp_path):
    run_shard("s", items(tmp_path), {"x": 1}, Work(), tmp_path / "i.tsv")
    run_shard("s", items(tmp_path), {"x": 2}, Work({"b": CaseError("no lungs")}), tmp_path / "i.tsv")
    assert sorted(path.name for path in tmp_path.glob("*.out*")) == ["a.out", "a.out.json", "c.out", "c.out.json"]


def test_several_threads_work_at_the_same_time_and_keep_the_order(tmp_path):
    barrier = threading.Barrier(3, timeout=10)
    work = Work({"d": CaseError("bad")})

    def meeting(item):
        if item.id in "abc":
            barrier.wait()  # passed only by three at once
        return work(item)

    rows = run_shard("s", items(tmp_path, "abcdef"), {}, meeting, tmp_path / "i.tsv", threads=3)
    assert [(row.id, row.status) for row in rows] == [
        (name, "quarantined" if name == "d" else "done") for name in "abcdef"
    ]
    assert read_index(tmp_path / "i.tsv") == rows


def test_a_fault_in_one_thread_lets_no_other_case_begin(tmp_path):
    first = Work()

    def work(item):
        first.calls.append(item.id)
        if item.id == "b":
            raise OSError(errno.ENOSPC, "No space left")
        time.sleep(0.2)
        item.output.write_text(item.id)

    with pytest.raises(OSError, match="No space left"):
        run_shard("s", items(tmp_path, "abcdef"), {}, work, tmp_path / "i.tsv", threads=2)
    assert sorted(first.calls) == ["a", "b"]
    again = Work()
    run_shard("s", items(tmp_path, "abcdef"), {}, again, tmp_path / "i.tsv")
    assert again.calls == ["b", "c", "d", "e", "f"]


def test_memory_is_bounded_by_the_budget_or_by_the_largest_case():
    budget, lock, held, seen = MemoryBudget(10), threading.Lock(), [], []

    def work(needed):
        with budget.hold(needed):
            with lock:
                held.append(needed)
                seen.append(sum(held))
            time.sleep(0.005)
            with lock:
                held.remove(needed)

    needs = [4, 25, 3, 3, 4, 10, 1, 9, 5, 5] * 3
    threads = [threading.Thread(target=work, args=(needed,)) for needed in needs]
    _ = [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert len(seen) == len(needs)
    assert max(total for total in seen if total < 25) <= 10
    assert max(seen) == 25  # alone


def test_a_shard_waits_for_an_older_job_that_still_works_on_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_TRIES", 0.01)
    caplog.set_level("INFO", "meddiff")
    older, work, index = kernel_lock.try_hold(tmp_path / ".i.tsv.lock"), Work(), tmp_path / "i.tsv"
    (tmp_path / ".tmp-1-a.out").write_text("what the older one writes")
    later = threading.Thread(target=run_shard, args=("s", items(tmp_path), {}, work, index))
    later.start()
    while later.is_alive() and "waiting for its end" not in caplog.text:
        time.sleep(0.01)
    assert (tmp_path / ".tmp-1-a.out").exists()
    assert work.calls == []
    kernel_lock.release(older)
    later.join(60)
    assert work.calls == ["a", "b", "c"]
    assert len(done_rows([index])) == 3


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_told_to_stop_quarantines_nothing_and_keeps_what_is_done(tmp_path, signal_number):
    # A shell that runs the tests in the background has them, and so their children, ignore a Ctrl-C.
    code = f"""
import signal, time
from pathlib import Path
from meddiff.machine.shards import Item, run_shard
signal.signal(signal.SIGINT, signal.default_int_handler)
def work(item):
    item.output.write_text(item.id)
    if item.id == "b":
        Path("begun").touch()
        time.sleep(60)
run_shard("s", [Item(name, (), Path(name + ".out")) for name in "abc"], {{}}, work, Path("i.tsv"), {1})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (tmp_path / "begun").exists():
        time.sleep(0.01)
    process.send_signal(signal_number)
    assert process.wait(30) != 0
    assert not (tmp_path / "i.tsv").exists()
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["a.out.json"]


def test_leftovers_of_this_shard_are_removed_and_those_of_others_kept(tmp_path):
    for name in (".tmp-123-a.out", ".tmp-123-a.out.json", ".tmp-7-z.out"):
        (tmp_path / name).write_text("half")
    run_shard("s", items(tmp_path), {}, Work(), tmp_path / "i.tsv")
    assert [path.name for path in tmp_path.glob(".tmp-*")] == [".tmp-7-z.out"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A configuration, a manifest of three small bodies, and the indices that `meddiff stage store` needs."""
    folder = tmp_path_factory.mktemp("prepared")
    for case in range(3):
        body = make_phantom(case, 6.0, "chest")
        volumes.write_image(volumes.from_zyx(body.ct_zyx, 6.0), folder / "raw" / f"case{case}.nii.gz")
        volumes.write_image(volumes.from_zyx(body.labels_zyx, 6.0), folder / "labels" / f"own_case{case}.nii.gz")
    tree = {
        "output_dir": str(folder),
        "data": {
            "spacing_mm": 5.0,
            "datasets": [{"name": "own", "root": str(folder / "raw"), "region": "chest"}],
        },
        "model": {"patch_vox": 32},
        "machine": {"data_shards": 1},
    }
    config = parse_config(tree, "test")
    write_manifest(find_cases(config.data, folder / "raw", 0), folder / "manifest.tsv")
    return folder, config


def verb(prepared, name, out, *more):
    """Return the command line that prepares the shard, on two threads."""
    folder, config = prepared
    own = folder / "config.yaml"
    write_json(config.model_dump(mode="json"), own)
    given = ["--config", own, "--manifest", folder / "manifest.tsv", "--index", out / "shard-000.tsv"]
    return [sys.executable, "-m", "meddiff", "stage", name, *map(str, given), *map(str, more), "--threads", "2"]


def run(command, **options):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def resample_command(prepared, out):
    return verb(prepared, "resample", out, "--shard", 0)


def store_command(prepared, out):
    """Return the command line that stores the bodies as they are; made up are their anatomy and their boxes."""
    folder, _ = prepared
    made = folder / "made"
    if not made.exists():
        assert run(resample_command(prepared, made / "ct")).returncode == 0
        cases = [row.id for row in read_index(made / "ct" / "shard-000.tsv")]

        def label(item):
            ct = volumes.read_image(made / "ct" / f"{item.id}.nii.gz")
            volumes.write_image(volumes.like((volumes.to_zyx(ct) > -300).astype(np.uint8), ct), item.output)
            return {"weights": "demo"}

        def box(item):
            size = volumes.read_image(made / "ct" / f"{item.id}.nii.gz").GetSize()[::-1]
            write_json([{"region": "chest", "start_zyx": [0, 0, 0], "stop_zyx": size, "evidence": ""}], item.output)

        for name, suffix, work in (("labels", ".nii.gz", label), ("boxes", ".json", box)):
            outputs = [Item(case, (), made / name / f"{case}{suffix}") for case in cases]
            run_shard(name, outputs, {}, work, made / name / "shard-000.tsv")
    names = {"resampled": "ct", "anatomy": "labels", "regions": "boxes"}
    indices = [word for option, name in names.items() for word in (f"--{option}", made / name / "shard-000.tsv")]
    return verb(prepared, "store", out, *indices)


def contents(folder):
    """Return the bytes of all files; of the index without the seconds and the place, which may differ."""
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    rows = read_tsv(folder / "shard-000.tsv")
    kept = [{column: row[column] for column in COLUMNS if column not in ("seconds", "path")} for row in rows]
    return files | {Path("shard-000.tsv"): kept}


@pytest.mark.slow
@pytest.mark.parametrize("command", [resample_command, store_command])
def test_a_shard_that_was_killed_and_started_again_ends_with_the_same_bytes(prepared, tmp_path, command):
    started = time.monotonic()
    assert run(command(prepared, tmp_path / "whole")).returncode == 0
    whole_s = time.monotonic() - started
    moments, killed, leftovers = random.Random(0), 0, 0
    out = tmp_path / "killed"
    for attempt in range(20):
        process = subprocess.Popen(command(prepared, out), cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 4 * whole_s
        if attempt % 2:  # in the middle of writing a file
            while process.poll() is None and time.monotonic() < deadline and not list(out.rglob(".tmp-*")):
                time.sleep(0.0005)
        else:
            time.sleep(moments.uniform(0.3, 1.0) * whole_s)
        process.kill()
        killed += process.wait() != 0
        leftovers += len(list(out.rglob(".tmp-*")))
        if killed >= 4 and leftovers:
            break
        if process.returncode == 0:  # too late: all is done
            shutil.rmtree(out)
    assert killed >= 4
    assert leftovers
    assert run(command(prepared, out)).returncode == 0
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("command", [resample_command, store_command])
def test_a_full_disk_ends_in_one_line_and_leaves_no_half_file(prepared, tmp_path, command):
    """A limit on the size of files stands in for the disk: ITK's writer takes no notice of either."""
    whole, full = tmp_path / "whole", tmp_path / "full"
    assert run(command(prepared, whole)).returncode == 0
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, largest // 2))

    done = run(command(prepared, full), preexec_fn=limit)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("meddiff: File too large for ")
    assert "free some space" in last
    assert "Traceback" not in done.stderr
    written = {path.relative_to(full) for path in full.rglob("*") if path.is_file()}
    assert all((full / path).read_bytes() == (whole / path).read_bytes() for path in written)
    assert run(command(prepared, full)).returncode == 0
    assert contents(full) == contents(whole)
