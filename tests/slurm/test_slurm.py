"""The phantom workflow on a real SLURM, with jobs cancelled, the node drained and Snakemake stopped on the way."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.slurm.cluster import NODE, Cluster, missing_programs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

ROOT = Path(__file__).parents[2]
TABLES = ("table1", "table3", "table3_organs", "table4", "table5", "table6", "table_sr")
MOST_SECONDS = 600


@pytest.fixture(scope="module")
def cluster():
    if missing := missing_programs():
        pytest.skip(f"SLURM is not installed ({', '.join(missing)} missing): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("slurmctld and slurmd of this test run as root")
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, Cluster(Path(folder)) as running:
        yield running


def write_config(folder: Path) -> Path:
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text())
    config["output_dir"] = str(folder / "results")
    config["data"]["datasets"] = [{"name": "phantom-chest"}, {"name": "phantom-lesions"}]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(cluster: Cluster, config: Path) -> subprocess.Popen:
    """Start the command that a user types, with what this cluster needs: no accounting, and quick answers."""
    command = [sys.executable, "-m", "snakemake", "--directory", str(ROOT), "--configfile", str(config)]
    command += ["--workflow-profile", str(ROOT / "profiles" / "slurm"), "--slurm-status-command", "squeue"]
    command += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10", "--slurm-no-account", "all"]
    log = (config.parent / "snakemake.log").open("a")
    return subprocess.Popen(command, env=cluster.environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)


def wait_for_job(cluster: Cluster, rule: str, process: subprocess.Popen) -> str:
    """Return the id of a running job of a rule."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for job, comment in cluster.jobs().items():
            if rule in comment:
                return job
        time.sleep(0.5)
    pytest.fail(f"no job of the rule {rule} was seen")


def finish(process: subprocess.Popen, folder: Path) -> None:
    try:
        process.wait(MOST_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
    if process.returncode:
        pytest.fail((folder / "snakemake.log").read_text()[-6000:])


def test_after_every_fault_the_same_command_finishes_with_the_same_tables(cluster, tmp_path):
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    for folder in (disturbed, undisturbed):
        folder.mkdir()
    config = write_config(disturbed)

    process = start(cluster, config)
    cluster.run("scancel", wait_for_job(cluster, "anatomy", process))
    cluster.run("scancel", wait_for_job(cluster, "pretrain", process))
    cluster.run("scontrol", "update", f"nodename={NODE}", "state=drain", "reason=test")
    time.sleep(5)
    cluster.run("scontrol", "update", f"nodename={NODE}", "state=resume")
    wait_for_job(cluster, "synthesize", process)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    finish(start(cluster, config), disturbed)

    finish(start(cluster, write_config(undisturbed)), undisturbed)
    for name in TABLES:
        found, expected = (pd.read_csv(folder / f"results/tables/{name}.csv") for folder in (disturbed, undisturbed))
        pd.testing.assert_frame_equal(found, expected)
