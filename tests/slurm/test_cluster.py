"""The SLURM that other tests run the workflow on: it starts, runs jobs, and leaves nothing running."""

import subprocess
from pathlib import Path

import pytest

from tests.phantom_run import ROOT
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


def test_a_rules_gpu_decides_on_the_partition(cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(RULES)
    arguments = ["--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path), *WITHOUT_ACCOUNTING]
    done = subprocess.run(
        [*SNAKEMAKE, *arguments],
        env=cluster.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {name: (tmp_path / name).read_text().strip() for name in ("with", "without")} == {
        "with": "gpu",
        "without": "cpu",
    }


def test_a_job_with_a_gpu_runs_and_everything_stops_afterwards(cluster):
    out = cluster.folder / "job.txt"
    command = "echo gpu $CUDA_VISIBLE_DEVICES; srun -n1 echo step"
    cluster.run("sbatch", "--wait", "--partition=gpu", "--gpus=1", f"--output={out}", f"--wrap={command}")
    assert out.read_text().split() == ["gpu", "0", "step"]
    started = [process.pid for process in cluster.processes]
    assert len(started) == 3
    cluster.stop()
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
