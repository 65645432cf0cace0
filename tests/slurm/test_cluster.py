"""The SLURM that other tests will run the workflow on: it starts, runs jobs, and leaves nothing running."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing_programs


@pytest.mark.slow
def test_a_job_with_a_gpu_runs_and_everything_stops_afterwards():
    if missing := missing_programs():
        pytest.skip(f"SLURM is not installed ({', '.join(missing)} missing): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("slurmctld and slurmd of this test run as root")
    with tempfile.TemporaryDirectory(prefix="slurm") as folder:
        with Cluster(Path(folder)) as cluster:
            out = Path(folder) / "job.txt"
            command = "echo gpu $CUDA_VISIBLE_DEVICES; srun -n1 echo step"
            cluster.run("sbatch", "--wait", "--partition=gpu", "--gpus=1", f"--output={out}", f"--wrap={command}")
            assert out.read_text().split() == ["gpu", "0", "step"]
            started = [int(path.read_text()) for path in Path(folder).glob("**/*pid*") if path.is_file()]
        assert started
        assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
