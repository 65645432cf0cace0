"""Several processes that train together over Gloo; when they wait for each other without end, the test fails."""

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.multiprocessing

from meddiff.training import distributed
from tests.forked import START_METHOD

DEADLOCK_SECONDS = 240


def together(processes: int, work: Callable[..., None], *args: Any) -> None:
    """Call `work(rank, *args)` in so many processes, and end them all when they take longer than they ever should."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.start_processes(
        _join, (processes, port, work, args), nprocs=processes, join=False, start_method=START_METHOD
    )
    assert context
    deadline = time.monotonic() + DEADLOCK_SECONDS
    while not context.join(timeout=1):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            pytest.fail(f"{processes} processes are not done after {DEADLOCK_SECONDS} s; they wait for each other")


def _join(rank: int, processes: int, port: int, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.process_group(torch.device("cpu")):
        work(rank, *args)
