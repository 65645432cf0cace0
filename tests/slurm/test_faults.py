"""The phantom workflow on a real SLURM: jobs cancelled or preempted, a node restarted, Snakemake killed on the way."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tests.phantom_run import read_tables, undisturbed_tables, write_config
from tests.slurm.cluster import NODES
from tests.slurm.workflow import WITHOUT_ACCOUNTING, finish, running, wait_for, wait_for_job

pytestmark = pytest.mark.slow


class Disturbed(NamedTuple):
    results: Path
    preempted: tuple[dict[str, str], dict[str, str]]  # what SLURM said of a job that waited for a GPU, and ran again


@pytest.fixture(scope="module")
def disturbed(cluster, tmp_path_factory) -> Disturbed:
    """What the workflow gave after every fault, by the same command each time."""
    folder = tmp_path_factory.mktemp("disturbed")
    config = write_config(folder)
    command = ["all", *WITHOUT_ACCOUNTING, "--jobs", "3"]
    with running(config, command, cluster) as process:
        cluster.run("scancel", wait_for_job(cluster, "anatomy", process))
        training = wait_for_job(cluster, "pretrain", process)
        cluster.run("scancel", training)
        cluster.run("scontrol", "update", f"nodename={NODES[0]}", "state=drain", "reason=test")
        cluster.restart_node()
        cluster.run("scontrol", "update", f"nodename={NODES[0]}", "state=resume")
        cluster.reach_time_limit(wait_for_job(cluster, "pretrain", process, but=training))
        preempted = preempt(cluster, "synthesize", process)
        process.kill()  # its jobs live on
    with running(config, command, cluster) as process:
        finish(process, config)
    return Disturbed(folder / "results", preempted)


def preempt(cluster, rule, process):
    """Take the GPUs from a rule's job for as long as it takes to be next in the queue."""
    job = wait_for_job(cluster, rule, process)
    urgent = cluster.take_gpus()
    wait_for("a wait for GPUs", lambda: cluster.job(job)["Reason"] in ("Resources", "Priority"), process)
    waiting = cluster.job(job)
    cluster.run("scancel", urgent)
    wait_for("the preempted job", lambda: job in cluster.jobs(), process)
    return waiting, cluster.job(job)


def test_after_every_fault_the_same_command_finishes(disturbed):
    results = disturbed.results
    tables = read_tables(results / "tables")
    assert len(tables) == 11
    drawn = tables["table3"].query("status == 'measured'")
    assert set(drawn["method"]) == {"real", "meddiff-fm", "ddpm"}
    assert (results / "report" / "index.html").exists()


def test_a_preempted_job_waits_for_a_free_gpu_and_runs_again_under_its_number(disturbed):
    waiting, again = disturbed.preempted
    assert (waiting["JobState"], again["JobState"]) == ("PENDING", "RUNNING")
    assert waiting["JobId"] == again["JobId"]
    assert again["Restarts"] == "1"
    assert "gres:gpu:1" in again.values()


def test_the_tables_equal_those_of_an_undisturbed_run(disturbed, pytestconfig):
    expected = read_tables(undisturbed_tables(pytestconfig))
    if not expected:
        pytest.skip("no undisturbed run of this code is known; `make test` makes one")
    found = read_tables(disturbed.results / "tables")
    assert found.keys() == expected.keys()
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], obj=name)
