"""The phantom workflow on a real SLURM, with jobs cancelled, a node restarted and Snakemake stopped on the way."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.slurm.cluster import NODE, Cluster

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CORES = 2  # for local and cluster jobs alike: sums of floats depend on the number of threads
MOST_SECONDS = 600
SNAKEMAKE = [sys.executable, "-m", "tests.slurm.snakemake_that_asks_often", "--directory", str(ROOT), "all"]
LOCAL = ["--cores", str(CORES)]
# What a user types, with what this cluster needs: no accounting, and quick answers.
ON_SLURM = [
    *("--workflow-profile", str(ROOT / "profiles" / "slurm"), "--jobs", "4", "--max-threads", str(CORES)),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account"),
    *("--latency-wait", "10"),
]


def write_config(folder: Path) -> Path:
    """Write the phantoms' configuration, with chests only, and return its path."""
    folder.mkdir()
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text())
    config["output_dir"] = str(folder / "results")
    config["data"]["datasets"] = [{"name": "phantom-chest"}, {"name": "phantom-lesions"}]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def running(config: Path, arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """Start Snakemake, and leave none running."""
    command = [*SNAKEMAKE, *arguments, "--configfile", str(config)]
    with config.with_name("snakemake.log").open("a") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def wait_for_job(cluster: Cluster, rule: str, process: subprocess.Popen, but: str = "") -> str:
    """Return the id of a running job of a rule, but not that one."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for job, comment in cluster.jobs().items():
            if comment.startswith(f"rule_{rule}") and job != but:
                return job
        time.sleep(0.5)
    pytest.fail(f"no job of the rule {rule} was seen")


def finish(config: Path, arguments: list[str], environment: dict[str, str]) -> None:
    with running(config, arguments, environment) as process:
        process.wait(MOST_SECONDS)
    if process.returncode:
        pytest.fail(config.with_name("snakemake.log").read_text()[-6000:])


def read_tables(config: Path) -> dict[str, pd.DataFrame]:
    tables = config.parent / "results" / "tables"
    return {path.stem: pd.read_csv(path) for path in sorted(tables.glob("*.csv"))}


def test_after_every_fault_the_same_command_finishes_with_the_tables_of_an_undisturbed_run(cluster, tmp_path):
    config = write_config(tmp_path / "disturbed")
    with running(config, ON_SLURM, cluster.environment) as process:
        cluster.run("scancel", wait_for_job(cluster, "anatomy", process))
        training = wait_for_job(cluster, "pretrain", process)
        cluster.run("scancel", training)
        cluster.run("scontrol", "update", f"nodename={NODE}", "state=drain", "reason=test")
        cluster.restart_node()
        cluster.run("scontrol", "update", f"nodename={NODE}", "state=resume")
        cluster.reach_time_limit(wait_for_job(cluster, "pretrain", process, but=training))
        wait_for_job(cluster, "synthesize", process)
        process.kill()  # its jobs live on
    finish(config, ON_SLURM, cluster.environment)

    undisturbed = write_config(tmp_path / "undisturbed")
    finish(undisturbed, LOCAL, dict(os.environ))
    found, expected = read_tables(config), read_tables(undisturbed)
    assert len(found) >= 8
    assert found.keys() == expected.keys()
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], obj=name)
