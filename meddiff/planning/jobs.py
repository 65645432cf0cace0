"""The jobs that a run still has to do, and what each asks for, as the records of Snakemake's dry run have them."""

import contextlib
import io
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any, NamedTuple

from meddiff.errors import UserError


class Job(NamedTuple):
    """One job, with the GPUs of all its nodes; 0 stands for what its rule does not say."""

    rule: str
    cores: int = 1
    gpus: int = 0
    memory_gb: float = 0
    limit_hours: float = 0


def remaining_jobs(config: Path, profile: str | None = None) -> list[Job]:
    """Return the jobs that are to be done, without rules that only gather others.

    Args:
        config: for `--configfile`.
        profile: for `--workflow-profile`; None is the workflow's default.

    Raises:
        UserError: this is not the workflow's folder, or Snakemake refuses; its reason is given.
    """
    from snakemake.api import resolve_snakefile

    if resolve_snakefile(None, allow_missing=True) is None:
        raise UserError("no Snakefile here; run this in the folder of the workflow")
    arguments = ["all", "--dry-run", "--cores", "1000000", "--configfile", str(config)]  # none of the threads is cut
    records = _dry_run([*arguments, *(["--workflow-profile", profile] if profile else [])])
    return [_job(record) for record in records if record.get("rule_name") and record["output"]]


def _dry_run(arguments: list[str]) -> list[dict[str, Any]]:
    """Return the fields of what Snakemake logs; what it prints is kept back."""
    from snakemake.cli import main

    log = BufferingHandler(sys.maxsize)
    logger = logging.getLogger("snakemake")  # above Snakemake's own, from which it removes all handlers
    logger.addHandler(log)
    logger.propagate = False
    printed = io.StringIO()
    try:
        with _own_sigterm(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
            main(arguments)
    except SystemExit as end:
        if isinstance(end.code, str):  # the Snakefile's own refusal
            raise UserError(end.code.removeprefix("meddiff: ")) from None
        if end.code:
            errors = [record.getMessage() for record in log.buffer if record.levelno >= logging.ERROR]
            reason = (errors or printed.getvalue().splitlines() or ["no reason"])[-1]
            raise UserError(f"snakemake: {' '.join(reason.split())}") from None
    finally:
        logger.removeHandler(log)
    return [vars(record) for record in log.buffer]


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Take back the handler of SIGTERM that Snakemake leaves: nothing that is forked under it can be ended."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # the only one in which handlers are set
            signal.signal(signal.SIGTERM, before)


def _job(record: Mapping[str, Any]) -> Job:
    numbers = {name: value for name, value in record["resources"].items() if isinstance(value, int)}
    gpus = numbers.get("gpu", 0)
    if gres := record["resources"].get("gres"):  # counts on each node
        gpus = numbers["nodes"] * int(gres.rpartition(":")[2])
    memory_gb, limit_hours = numbers.get("mem_mb", 0) / 1e3, numbers.get("runtime", 0) / 60
    return Job(record["rule_name"], record["threads"], gpus, memory_gb, limit_hours)
