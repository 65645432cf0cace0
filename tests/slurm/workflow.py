"""The phantom workflow as a user runs it on a cluster, but with quick answers."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.phantom_run import ROOT, THREADS
from tests.slurm.cluster import Cluster

T = TypeVar("T")
MOST_SECONDS = 1000
SNAKEMAKE = [sys.executable, "-m", "tests.slurm.snakemake_that_asks_often", "--directory", str(ROOT)]
SNAKEMAKE += ["--workflow-profile", str(ROOT / "profiles" / "slurm"), "--max-threads", str(THREADS)]
SNAKEMAKE += [
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--latency-wait",
    "10",
    "--max-jobs-per-timespan",
    "10/1s",
]
WITHOUT_ACCOUNTING = ["--slurm-no-account"]


@contextmanager
def running(config: Path, arguments: list[str], cluster: Cluster) -> Iterator[subprocess.Popen]:
    """Start Snakemake, and leave none running."""
    command = [*SNAKEMAKE, *arguments, "--configfile", str(config)]
    with log_of(config).open("a") as log:
        process = subprocess.Popen(command, env=cluster.environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def finish(process: subprocess.Popen, config: Path) -> None:
    """Wait for Snakemake; its last lines are the reason when it fails."""
    process.wait(MOST_SECONDS)
    if process.returncode:
        pytest.fail(log_of(config).read_text()[-6000:])


def wait_for_job(cluster: Cluster, rule: str, process: subprocess.Popen, but: str = "") -> str:
    """Return the id of a running job of a rule, but not that one."""

    def others() -> list[str]:
        return [job for job, comment in cluster.jobs().items() if comment.startswith(f"rule_{rule}") and job != but]

    return wait_for(f"a job of the rule {rule}", others, process)[0]


def wait_for(what: str, look: Callable[[], T], process: subprocess.Popen) -> T:
    """Return what a look finds, as soon as it is something, while Snakemake runs."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := look():
            return found
        time.sleep(0.5)
    pytest.fail(f"{what} was not seen")


def log_of(config: Path) -> Path:
    return config.with_name("snakemake.log")
