"""A site with accounting: jobs need an account, and `squeue` and `sacct` both tell Snakemake how they ended."""

from pathlib import Path

import pytest

from tests.phantom_run import write_config
from tests.slurm.cluster import ACCOUNT, Cluster
from tests.slurm.workflow import finish, running, wait_for_job

pytestmark = pytest.mark.slow

# Those of the profile, which a command line replaces, and the account.
RESOURCES = ["mem_mb=8000", "runtime=60", f"slurm_account={ACCOUNT}"]


@pytest.fixture
def config(tmp_path) -> Path:
    return write_config(tmp_path)


def one_job(config: Path) -> list[str]:
    """Return what lets Snakemake submit the first shard and nothing else."""
    return [str(config.parent / "results" / "data" / "resample" / "shard-000.tsv"), "--jobs", "1"]


def ended(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Return account and state of each job by its id."""
    table = cluster.run("sacct", "--allocations", "--noheader", "--parsable2", "--format=jobid,account,state")
    rows = (line.split("|") for line in table.splitlines())
    return {job: (account, state.split()[0]) for job, account, state in rows}


def test_a_cancelled_job_is_submitted_again_and_all_are_charged_to_the_account(cluster_with_accounting, config):
    cluster = cluster_with_accounting
    with running(config, [*one_job(config), "--default-resources", *RESOURCES], cluster) as process:
        cancelled = wait_for_job(cluster, "resample", process)
        cluster.run("scancel", cancelled)
        finish(process, config)
    jobs = ended(cluster)
    assert jobs.pop(cancelled) == (ACCOUNT, "CANCELLED")
    assert list(jobs.values()) == [(ACCOUNT, "COMPLETED")]


def test_sacct_tells_of_a_failure_and_of_success(cluster_with_accounting, config):
    cluster = cluster_with_accounting
    before = ended(cluster)
    arguments = [*one_job(config), "--slurm-status-command", "sacct", "--default-resources", *RESOURCES]
    with running(config, arguments, cluster) as process:
        cluster.reach_time_limit(wait_for_job(cluster, "resample", process))
        finish(process, config)
    (first, again) = (jobs := ended(cluster)).keys() - before
    assert jobs[min(first, again, key=int)][1] in ("TIMEOUT", "FAILED")  # Snakemake in the job may see its end first
    assert jobs[max(first, again, key=int)] == (ACCOUNT, "COMPLETED")
