"""The SLURM that other tests run the workflow on: it starts, runs jobs, and leaves nothing running."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_a_job_with_a_gpu_runs_and_everything_stops_afterwards(cluster):
    out = cluster.folder / "job.txt"
    command = "echo gpu $CUDA_VISIBLE_DEVICES; srun -n1 echo step"
    cluster.run("sbatch", "--wait", "--partition=gpu", "--gpus=1", f"--output={out}", f"--wrap={command}")
    assert out.read_text().split() == ["gpu", "0", "step"]
    started = [process.pid for process in cluster.processes]
    assert len(started) == 3
    cluster.stop()
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
