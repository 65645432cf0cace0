"""Several processes that train together over Gloo; when they wait for each other without end, the test fails."""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.multiprocessing

from meddiff.training import distributed

DEADLOCK_SECONDS = 240
# The processes fork from one that has imported all this: each of them would take seconds for it.
multiprocessing.set_forkserver_preload(
    ["torch._dynamo", "torch.utils.tensorboard", "meddiff.training.loop", "meddiff.model.controlnet"]
)


def together(processes: int, work: Callable[..., None], *args: Any) -> None:
    """Call `work(rank, *args)` in so many processes, and end them all when they take longer than they ever should."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.start_processes(
        _join, (processes, port, work, args), nprocs=processes, join=False, start_method="forkserver"
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
