"""Threads of a process: what it is told, within what it may use."""

import os

import pytest
import torch

from meddiff.machine.device import set_up_cpu
from meddiff.machine.threads import available_threads

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("meant", "threads"), [("1", 1), ("4096", CORES), ("", CORES), ("0", 1), ("many", CORES)])
def test_the_variable_counts_up_to_the_cores(monkeypatch, meant, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", meant)
    assert available_threads() == threads


@pytest.mark.parametrize(("asked", "threads"), [(None, 1), (1, 1), (4096, CORES)])
def test_what_is_asked_for_comes_before_the_variable(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    try:
        set_up_cpu(asked)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
