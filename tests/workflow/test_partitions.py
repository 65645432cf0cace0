"""A job's partition follows from the GPUs that it asks for, with the executor's own choice."""

import logging
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_slurm.partitions import get_best_partition, read_partition_file

from meddiff.machine.launcher import resources
from tests.phantom_run import ROOT

FILE = ROOT / "profiles" / "slurm" / "partitions.yaml"


@pytest.mark.parametrize(
    ("asked", "partition"),
    [
        ({}, "cpu"),
        ({"gpu": 0}, "cpu"),
        ({"gpu": 1}, "gpu"),
        (resources(4, 1, True), "gpu"),
        (resources(8, 2, True), "gpu"),
    ],
)
def test_jobs_that_ask_for_a_gpu_go_where_there_are_some_and_others_do_not(asked, partition):
    job = SimpleNamespace(name="any", threads=16, resources={"mem_mb": 32000, "runtime": 1380} | asked)
    assert get_best_partition(read_partition_file(FILE), job, logging.getLogger()) == partition
