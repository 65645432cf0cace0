"""One scan, or a folder of them: what is done is left alone, what fails is told, and at the end stands a table."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from meddiff.cli.options import naming
from meddiff.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A scan, what is known of it, and what is to be written."""

    scan: Path
    out: Path
    anatomy: Path | None = None
    mask_out: Path | None = None
    name: str = ""  # of several

    @property
    def is_done(self) -> bool:
        """Whether all that is to be written was written before."""
        from meddiff.derived.out import is_written

        return all(is_written(path) for path in (self.out, self.mask_out) if path)


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
        return f"{self.job.name:40} {self.status:8} {self.seconds:8.1f} s  {self.reason}".rstrip()


def jobs_of(scan: Path, out: Path, anatomy: Path | None = None, mask_out: Path | None = None) -> list[Job]:
    """Return the job of a scan, or one for each volume file of a folder, or for each DICOM folder at any depth in it.

    Results, masks and given anatomy lie in folders too, each under its scan's name, or where its DICOM folder lies; a
    mask of that is a volume. Nothing that a DICOM file says of the patient goes into a name.

    Raises:
        UserError: results would lie beside the scans.
    """
    from meddiff.volumes.volumes import is_volume_file

    if not scan.is_dir():
        return [Job(scan, out, anatomy, mask_out)]
    names = sorted(path.name for path in scan.iterdir() if is_volume_file(path))
    folders = [] if names else dicom_folders(scan)
    if not names and not folders:
        return [Job(scan, out, anatomy, mask_out)]
    places = [out, *out.parents] if folders else [out]
    given = [folder.resolve() for folder in (anatomy, mask_out) if folder]
    if scan.resolve() in [place.resolve() for place in places] or out.resolve() in given:
        raise UserError(f"--out {out}: the folder of the scans or of the masks; give another one")
    masks = {name: name for name in names} | {folder: f"{folder}.nii.gz" for folder in folders}
    return [Job(scan / n, out / n, anatomy and anatomy / n, mask_out and mask_out / m, n) for n, m in masks.items()]


def dicom_folders(root: Path) -> list[str]:
    """Return where DICOM folders with a CT lie below a folder that is none itself; the log says which have no CT."""
    from meddiff.derived.series import single_frames
    from meddiff.volumes.dicom.headers import is_dicom

    def has_slices(folder: Path) -> bool:
        return any(path.name.upper() != "DICOMDIR" and is_dicom(path) for path in sorted(folder.iterdir()))

    if has_slices(root):
        return []
    found = []
    for folder in sorted(path for path in root.rglob("*") if path.is_dir() and has_slices(path)):
        name = folder.relative_to(root).as_posix()
        try:
            with naming(Path(name)):
                single_frames(folder)
            found.append(name)
        except UserError as error:
            log.warning("left out: %s", error)
    return found


def to_do(jobs: Sequence[Job]) -> list[Job]:
    """Return those of several jobs that were not done before, or the one."""
    return [job for job in jobs if len(jobs) == 1 or not job.is_done]


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
    if not alone and job.is_done:
        return Outcome(job, "skipped", reason="done before")
    try:
        work(job)
    except UserError as error:
        if alone:
            raise
        return Outcome(job, "failed", time.monotonic() - start, str(error))
    return Outcome(job, "done", time.monotonic() - start)
