"""The SLURM that other tests run the workflow on: it starts, runs jobs, and leaves nothing running."""

import subprocess
from pathlib import Path

import pytest

from tests.phantom_run import ROOT
from tests.slurm.cluster import NODES
from tests.slurm.workflow import MOST_SECONDS, SNAKEMAKE, WITHOUT_ACCOUNTING

pytestmark = pytest.mark.slow
RULES = """
rule all:
    input:
        "with", "without"
rule with_gpu:
    output:
        "with"
    resources:
        gpu=1
    shell:
        "echo $SLURM_JOB_PARTITION > {output}"
rule without_gpu:
    output:
        "without"
    shell:
        "echo $SLURM_JOB_PARTITION > {output}"
"""


MEETING = """
rule all:
    input:
        "first", "second"
rule meet:
    output:
        "{name}"
    resources:
        mem_mb=150000 # more than half of a node's
    shell:
        "touch {output}.here;"
        "timeout 120 sh -c 'until [ -e first.here ] && [ -e second.here ]; do sleep 1; done';"
        "echo $SLURMD_NODENAME > {output}"
"""


def run(cluster, folder, rules):
    """Run a workflow to its end."""
    (folder / "Snakefile").write_text(rules)
    arguments = ["--snakefile", str(folder / "Snakefile"), "--directory", str(folder), *WITHOUT_ACCOUNTING]
    done = subprocess.run(
        [*SNAKEMAKE, *arguments],
        env=cluster.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_rules_gpu_decides_on_the_partition(cluster, tmp_path):
    run(cluster, tmp_path, RULES)
    assert {name: (tmp_path / name).read_text().strip() for name in ("with", "without")} == {
        "with": "gpu",
        "without": "cpu",
    }


def test_jobs_of_one_workflow_run_on_several_nodes_at_once(cluster, tmp_path):
    run(cluster, tmp_path, MEETING)
    assert {(tmp_path / name).read_text().strip() for name in ("first", "second")} == set(NODES)


def test_a_job_with_a_gpu_runs_and_everything_stops_afterwards(cluster):
    out = cluster.folder / "job.txt"
    command = "echo gpu $CUDA_VISIBLE_DEVICES; srun -n1 echo step"
    cluster.run("sbatch", "--wait", "--partition=gpu", "--gpus=1", f"--output={out}", f"--wrap={command}")
    assert out.read_text().split() == ["gpu", "0", "step"]
    started = [process.pid for process in cluster.processes]
    assert len(started) == 4
    cluster.stop()
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
