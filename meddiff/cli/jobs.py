"""One scan, or a folder of them: what is done is left alone, what fails is told, and at the end stands a table."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from meddiff.errors import UserError


@dataclass(frozen=True)
class Job:
    """A scan, what is known of it, and what is to be written."""

    scan: Path
    out: Path
    anatomy: Path | None = None
    mask_out: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: done, skipped since it was done before, or failed for a reason."""

    job: Job
    status: str
    seconds: float = 0.0
    reason: str = ""

    def as_json(self) -> str:
        facts = {"scan": str(self.job.scan), "out": str(self.job.out), "status": self.status}
        return json.dumps(facts | {"seconds": round(self.seconds, 1), "reason": self.reason})

    def as_row(self) -> str:
        return f"{self.job.scan.name:40} {self.status:8} {self.seconds:8.1f} s  {self.reason}".rstrip()


def jobs_of(scan: Path, out: Path, anatomy: Path | None = None, mask_out: Path | None = None) -> list[Job]:
    """Return the job of a scan, or one for each volume file of a folder.

    Results, masks and given anatomy lie in folders too, each under its scan's name. A folder without volume files is a
    DICOM folder: one scan.

    Raises:
        UserError: results would lie beside the scans.
    """
    from meddiff.volumes.volumes import is_volume_file

    names = sorted(path.name for path in scan.iterdir() if is_volume_file(path)) if scan.is_dir() else []
    if not names:
        return [Job(scan, out, anatomy, mask_out)]
    if out.resolve() in (scan.resolve(), anatomy and anatomy.resolve(), mask_out and mask_out.resolve()):
        raise UserError(f"--out {out}: the folder of the scans or of the masks; give another one")
    return [Job(scan / n, out / n, anatomy and anatomy / n, mask_out and mask_out / n) for n in names]


def run_jobs(jobs: Sequence[Job], work: Callable[[Job], None], as_json: bool = False) -> None:
    """Do each job that was not done before, and say what became of it.

    Raises:
        UserError: a job failed; of several all others are done first.
    """
    outcomes = []
    for job in jobs:
        outcomes.append(_run(job, work, alone=len(jobs) == 1))
        if as_json:
            typer.echo(outcomes[-1].as_json())
    if len(jobs) == 1:
        return
    if not as_json:
        typer.echo("\n".join(outcome.as_row() for outcome in outcomes))
    if failed := sum(outcome.status == "failed" for outcome in outcomes):
        raise UserError(f"{failed} of {len(jobs)} scans failed, see above; the same command tries them again")


def _run(job: Job, work: Callable[[Job], None], alone: bool) -> Outcome:
    start = time.monotonic()
    if not alone and job.out.exists():
        return Outcome(job, "skipped", reason="done before")
    try:
        work(job)
    except UserError as error:
        if alone:
            raise
        return Outcome(job, "failed", time.monotonic() - start, str(error))
    return Outcome(job, "done", time.monotonic() - start)
