"""A SLURM for each module of tests that needs one; they are skipped where it cannot be had."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import ACCOUNTING_PROGRAMS, SYSTEM_CONF, Cluster, missing_programs


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from _started(accounting=False)


@pytest.fixture(scope="module")
def cluster_with_accounting() -> Iterator[Cluster]:
    if missing := missing_programs(ACCOUNTING_PROGRAMS):
        names = "slurmdbd mariadb-server-core mariadb-client-core"
        pytest.skip(f"SLURM's accounting is not installed ({', '.join(missing)} missing): apt-get install {names}")
    yield from _started(accounting=True)


def _started(accounting: bool) -> Iterator[Cluster]:
    if missing := missing_programs():
        pytest.skip(f"SLURM is not installed ({', '.join(missing)} missing): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("slurmctld and slurmd of this test run as root")
    if SYSTEM_CONF.exists() or SYSTEM_CONF.is_symlink():
        pytest.skip(f"{SYSTEM_CONF} exists: this machine has a SLURM of its own, or one that was left behind")
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, Cluster(Path(folder), accounting) as running:
        yield running
