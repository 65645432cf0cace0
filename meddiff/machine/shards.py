"""Running one stage over one shard of cases.

A case that was done before with the same inputs and settings is skipped; one that fails is quarantined with its
reason, the rest goes on, and it is tried again whenever the shard runs. What is no fault of the case
(`meddiff.machine.faults`) ends the job. The shard's index tells of every case.
A job that was killed at any moment and is started again ends with the same files as one that was not.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Lock
from typing import Any

from meddiff.errors import CaseError, UserError
from meddiff.machine.faults import ends_the_job
from meddiff.machine.files import digest, read_json, remove_leftovers, sha256, write_json
from meddiff.machine.locks import locked_after_others
from meddiff.machine.notes import noted
from meddiff.machine.progress import Progress
from meddiff.machine.tsv import read_tsv, write_tsv

log = logging.getLogger(__name__)

COLUMNS = ("id", "status", "path", "sha256", "seconds", "reason", "notes")
DONE, QUARANTINED = "done", "quarantined"


@dataclass(frozen=True)
class Item:
    """One piece of work: its inputs, and other facts about it, decide whether an earlier result is still valid.

    An input is known by its name, size and time, so that a dataset may move to another folder. What a rule of the
    workflow writes as its output is known by a checksum among the facts: the time changes whenever the rule runs.
    `of` is what the work is done on, for whoever does it.
    """

    id: str
    inputs: tuple[Path, ...]
    output: Path
    facts: tuple[str, ...] = ()
    of: Any = None


@dataclass(frozen=True)
class Row:
    """One line of a shard's index: `reason` why a case cannot be used, `notes` what of its input was left out."""

    id: str
    status: str
    path: Path
    sha256: str
    seconds: float
    reason: str
    notes: str = ""


class MemoryBudget:
    """Bytes that the cases in work may take together; one that needs more than all of them works alone.

    So the memory of a shard is bounded by the larger of the budget and the need of its largest case, whatever the
    number of threads.
    """

    def __init__(self, total: float) -> None:
        self._total, self._taken = total, 0.0
        self._changed = Condition()

    @contextmanager
    def hold(self, needed: float) -> Iterator[None]:
        """Wait until the bytes are free, and take them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + needed <= self._total)
            self._taken += needed
        try:
            yield
        finally:
            with self._changed:
                self._taken -= needed
                self._changed.notify_all()


def run_shard(
    stage: str,
    items: Iterable[Item],
    settings: Any,
    work: Callable[[Item], Any],
    index: Path,
    threads: int = 1,
) -> list[Row]:
    """Run `work(item)`, which writes `item.output`, over all items, and write the index.

    Args:
        stage: name for the log.
        items: the cases of the shard.
        settings: JSON value; results made with other settings are made again.
        work: returns a JSON value that is kept in the sidecar of the output.
        index: where the shard's table goes.
        threads: cases that are worked on at the same time.

    Raises:
        UserError, and whatever `faults.machine_fault` knows: it is not the case that is at fault. The finished cases
            are kept, and the error has the case that was worked on as a note.
    """
    # A job may outlive the Snakemake that submitted it, and meet the one of the next Snakemake.
    with locked_after_others(index.with_name(f".{index.name}.lock"), f"{stage} {index.stem}"):
        return _run_shard(stage, list(items), settings, work, index, threads)


def _run_shard(
    stage: str, items: list[Item], settings: Any, work: Callable[[Item], Any], index: Path, threads: int
) -> list[Row]:
    progress = Progress(stage, len(items))
    _remove_leftovers([path for item in items for path in (item.output, sidecar(item.output))] + [index])

    stopped, lock = Event(), Lock()

    def run(item: Item) -> Row:
        if stopped.is_set():
            raise CancelledError
        try:
            row, note = _run(item, digest(settings), work)
        except BaseException:  # what has begun ends, the rest does not begin
            stopped.set()
            raise
        with lock:
            progress.step(f"{item.id}: {note}")
        return row

    if threads == 1:  # in this thread, which a Ctrl-C reaches
        rows = [run(item) for item in items]
    else:
        rows = _on_threads(run, items, threads, stopped)
    write_tsv([row.__dict__ for row in rows], COLUMNS, index)
    if lost := sum(row.status == QUARANTINED for row in rows):
        log.warning("%s: %d of %d cases quarantined; their reasons stand in %s", stage, lost, len(rows), index)
    return rows


def _on_threads(run: Callable[[Item], Row], items: list[Item], threads: int, stopped: Event) -> list[Row]:
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(run, items))
        except BaseException:
            stopped.set()
            raise


def read_index(path: Path) -> list[Row]:
    """Return the rows of a shard's index.

    Raises:
        UserError: it is another table.
    """
    rows = read_tsv(path)
    if lacking := [name for name in COLUMNS[:-1] if rows and name not in rows[0]]:
        raise UserError(f"{path}: no index of a stage, since it has no column {lacking[0]}; give a shard-*.tsv")
    return [
        Row(r["id"], r["status"], Path(r["path"]), r["sha256"], float(r["seconds"]), r["reason"], r.get("notes", ""))
        for r in rows
    ]


def done_rows(indices: Iterable[Path]) -> list[Row]:
    """Return the finished cases of several shards, sorted by id, so that nothing depends on the number of shards."""
    return sorted((r for index in indices for r in read_index(index) if r.status == DONE), key=lambda row: row.id)


def sidecar(output: Path) -> Path:
    return output.with_name(output.name + ".json")


def _remove_leftovers(files: list[Path]) -> None:
    """Other shards may be writing to the same folder, so only what bears the names of this one's files is removed."""
    names = {path.name for path in files}
    for folder in {path.parent for path in files}:
        remove_leftovers(folder, names)


def _run(item: Item, settings: str, work: Callable[[Item], Any]) -> tuple[Row, str]:
    start = time.monotonic()
    key = digest([settings, item.facts, [(path.name, _stamp(path)) for path in item.inputs]])
    earlier = _earlier(item, key)
    if earlier is not None:
        row = Row(item.id, DONE, item.output, earlier["sha256"], 0.0, "", _line(earlier.get("notes", [])))
        return row, "done before"
    try:
        with noted() as notes:
            details = work(item)
    except Exception as error:  # one bad case must not end a shard of sixty
        if ends_the_job(error):
            error.add_note(item.id)
            raise
        for path in (item.output, sidecar(item.output)):  # of other inputs or settings; later stages look for it
            path.unlink(missing_ok=True)
        return _quarantine(item, _reason(error, item), start)
    checksum = sha256(item.output)
    record = {"key": key, "sha256": checksum, "bytes": item.output.stat().st_size, "details": details, "notes": notes}
    write_json(record, sidecar(item.output))
    seconds = time.monotonic() - start
    row = Row(item.id, DONE, item.output, checksum, round(seconds, 2), "", _line(notes))
    return row, f"done in {seconds:.1f} s"


def _line(notes: list[str]) -> str:
    return " ".join("; ".join(notes).split())


def _reason(error: Exception, item: Item) -> str:
    """Return why a case cannot be used, without the paths that may name a patient."""
    if isinstance(error, CaseError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    log.exception("%s failed", item.id)  # unforeseen, so its trace is in the log
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def _quarantine(item: Item, reason: str, start: float) -> tuple[Row, str]:
    reason = " ".join(reason.split())
    return Row(
        item.id, QUARANTINED, item.output, "", round(time.monotonic() - start, 2), reason
    ), f"quarantined, {reason}"


def _earlier(item: Item, key: str) -> dict[str, Any] | None:
    """Return what was written down of a valid earlier result."""
    if not item.output.exists() or not sidecar(item.output).exists():
        return None
    record = read_json(sidecar(item.output))
    if record["key"] != key or record["bytes"] != item.output.stat().st_size:
        return None
    return record


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when an input changes: size and time of a file, or of the files in a folder.

    A link to nothing has those of its own; what it means for the case is for the work to say.
    """
    if path.is_dir():
        stats = [entry.stat(follow_symlinks=entry.exists()) for entry in path.iterdir()]
        return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None
