"""The command that starts a training, as a shell sees it."""

import os
import shlex
import subprocess

import pytest

from meddiff.machine.launcher import launcher, resources


def test_one_process_needs_no_torchrun():
    assert launcher(1, 1) == "python -m"
    assert resources(1, 1, True) == {"gpu": 1}


def test_what_trains_on_the_cpu_asks_for_no_gpu():
    assert resources(1, 1, False) == {"gpu": 0}
    assert resources(8, 2, False) == {"nodes": 2, "tasks": 2}


def test_the_gpus_of_one_node_share_a_training():
    assert launcher(4, 1) == "torchrun --standalone --nproc-per-node 4 -m"
    assert resources(4, 1, True) == {"gpu": 4}


@pytest.fixture
def slurm(tmp_path):
    """The environment of a job's step on the first of two nodes, with an `srun` that prints what it is told."""
    programs = {
        "squeue": 'test "$*" = "--noheader --jobs 31234 --format %N" && echo "gpu[07-08]"',
        "scontrol": "test \"$3\" = 'gpu[07-08]' && printf 'gpu07\\ngpu08\\n'",
        "srun": 'printf "%s\\n" "$SLURM_JOB_NODELIST" "$@"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "gpu07", "SLURM_JOB_ID": "31234"}


def run(command, environment):
    script = f"set -euo pipefail; {command} meddiff stage pretrain"
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)


def test_torchrun_starts_on_every_node_and_they_meet_at_the_first(slurm):
    words = run(launcher(8, 2), slurm).stdout.split()
    before, after = words[: words.index("torchrun")], words[words.index("torchrun") + 1 :]
    assert before == shlex.split(
        "gpu[07-08] --jobid 31234 --overlap --nodes 2 --ntasks 2 --ntasks-per-node 1 --cpu-bind none"
    )
    assert after == shlex.split(
        "--nnodes 2 --nproc-per-node 4 --rdzv-id 31234 --rdzv-backend c10d --rdzv-endpoint gpu07:21234"
        " -m meddiff stage pretrain"
    )
    assert resources(8, 2, True) == {"nodes": 2, "gres": "gpu:4"}


def test_several_nodes_without_a_cluster_end_in_one_line(slurm):
    done = run(launcher(8, 2), {"PATH": slurm["PATH"]})
    assert done.returncode != 0
    assert "machine.nodes needs a cluster" in done.stderr
    assert done.stderr.count("\n") == 1
