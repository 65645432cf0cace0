"""The phantom workflow on a real SLURM, with jobs cancelled, a node restarted and Snakemake killed on the way."""

from pathlib import Path

import pandas as pd
import pytest

from tests.phantom_run import read_tables, undisturbed_tables, write_config
from tests.slurm.cluster import NODE
from tests.slurm.workflow import WITHOUT_ACCOUNTING, finish, running, wait_for_job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(cluster, tmp_path_factory) -> Path:
    """What the workflow gave after every fault, by the same command each time."""
    folder = tmp_path_factory.mktemp("disturbed")
    config = write_config(folder)
    command = ["all", *WITHOUT_ACCOUNTING, "--jobs", "3"]
    with running(config, command, cluster) as process:
        cluster.run("scancel", wait_for_job(cluster, "anatomy", process))
        training = wait_for_job(cluster, "pretrain", process)
        cluster.run("scancel", training)
        cluster.run("scontrol", "update", f"nodename={NODE}", "state=drain", "reason=test")
        cluster.restart_node()
        cluster.run("scontrol", "update", f"nodename={NODE}", "state=resume")
        cluster.reach_time_limit(wait_for_job(cluster, "pretrain", process, but=training))
        wait_for_job(cluster, "synthesize", process)
        process.kill()  # its jobs live on
    with running(config, command, cluster) as process:
        finish(process, config)
    return folder / "results"


def test_after_every_fault_the_same_command_finishes(results):
    tables = read_tables(results / "tables")
    assert len(tables) == 11
    drawn = tables["table3"].query("status == 'measured'")
    assert set(drawn["method"]) == {"real", "meddiff-fm", "ddpm"}
    assert (results / "report" / "index.html").exists()


def test_the_tables_equal_those_of_an_undisturbed_run(results, pytestconfig):
    expected = read_tables(undisturbed_tables(pytestconfig))
    if not expected:
        pytest.skip("no undisturbed run of this code is known; `make test` makes one")
    found = read_tables(results / "tables")
    assert found.keys() == expected.keys()
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], obj=name)
