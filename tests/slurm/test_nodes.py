"""A training that is shared by processes on two nodes, as `machine.nodes` starts it."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.phantom_run import snakemake, write_config
from tests.slurm.workflow import WITHOUT_ACCOUNTING, finish, running, wait_for_job

pytestmark = pytest.mark.slow


def shared_by(processes: int, config: Path) -> Path:
    """Write the configuration anew for so many processes, each on a node of its own."""
    settings = yaml.safe_load(config.read_text())
    settings["training"] |= {"steps": 20, "batch_size": 1, "accumulation": 2}
    settings["machine"] |= {"processes": processes, "nodes": processes, "device": "cpu"}
    config.write_text(yaml.safe_dump(settings))
    return config


def test_two_nodes_train_the_very_model_that_one_process_does(cluster, tmp_path):
    config, results = write_config(tmp_path), tmp_path / "results"
    weights = results / "models" / "meddiff-fm" / "model.safetensors"
    arguments = [str(weights), "--jobs", "4", *WITHOUT_ACCOUNTING]
    with running(shared_by(2, config), arguments, cluster) as process:
        job = cluster.job(wait_for_job(cluster, "pretrain", process))
        finish(process, config)
    assert job["NumNodes"] == "2"
    together = weights.read_bytes()
    shutil.rmtree(results / "models" / "meddiff-fm")
    shutil.rmtree(results / "runs")
    snakemake(weights, "--cores", 1, "--configfile", shared_by(1, config))
    assert weights.read_bytes() == together
