"""GPUs are handed out between real processes; no GPU is needed, only names."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from meddiff.machine import gpus

TAKE = """
import sys
from pathlib import Path
from meddiff.machine import gpus
print(*gpus.take_first_free(sys.argv[2].split(","), int(sys.argv[3]), Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def take(tmp_path):
    """Start processes that each take GPUs and keep them until the test ends; returns what each took."""
    running = []

    def start(ids, count=1):
        command = [sys.executable, "-c", TAKE, str(tmp_path / "gpus"), ids, str(count)]
        running.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return running[-1].stdout.readline().split()

    yield start
    for process in running:
        process.communicate()


def test_two_jobs_at_once_do_not_share_a_gpu(take):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(take, ["0,1", "0,1"])
    assert sorted(first + second) == ["0", "1"]


def test_a_job_takes_as_many_as_it_needs_and_the_next_one_what_is_left(take):
    assert take("0,1,2", 2) == ["0", "1"]
    assert take("0,1,2") == ["2"]


def test_without_a_free_one_a_gpu_is_shared_and_that_is_said(take, tmp_path, caplog):
    take("0")
    assert gpus.take_first_free(["0"], 1, tmp_path / "gpus") == ["0"]
    assert "no GPU is free; sharing GPU 0 with process " in caplog.text


def test_jobs_of_slurm_with_numbers_of_their_own_do_not_meet(take, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    take("0")
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert gpus.take_first_free(["0"], 1, tmp_path / "gpus") == ["0"]
    assert not caplog.text


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "FOLDER", tmp_path / "gpus")
    monkeypatch.setattr(gpus, "_mine", [])
    for name in (gpus.VISIBLE, "SLURM_JOB_ID", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("visible", "count", "seen"),
    [(None, 1, "0"), (None, 2, "0,1"), ("3,1", 1, "3"), ("GPU-8f2a,GPU-77c1", 2, "GPU-8f2a,GPU-77c1"), ("2", 4, "2")],
)
def test_a_process_sees_only_its_own_of_the_visible_gpus(machine, monkeypatch, visible, count, seen):
    if visible is not None:
        monkeypatch.setenv(gpus.VISIBLE, visible)
    gpus.take_gpus(4, count)
    assert os.environ[gpus.VISIBLE] == seen
    gpus.take_gpus(4, 1)
    assert os.environ[gpus.VISIBLE] == seen


def test_a_machine_without_gpus_is_left_alone(machine):
    gpus.take_gpus(0, 1)
    assert gpus.VISIBLE not in os.environ
    assert not gpus.FOLDER.exists()


def test_processes_of_torchrun_prefer_different_gpus(machine, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    gpus.take_gpus(4, 1)
    assert os.environ[gpus.VISIBLE] == "2"
