"""Sharing a training run between the processes that `torchrun` starts, one for each GPU, on one node or many."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Return this process's number; 0 is the one that writes and speaks."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_device(device: torch.device) -> torch.device:
    """Return this process's own GPU, of those that it sees, or the device as it is."""
    if device.type != "cuda":
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes, if there are any: NCCL between GPUs, Gloo between CPUs."""
    if world_size() == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def add_up(values: Tensor) -> Tensor:
    """Return the sum over all processes, the same in each of them."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def wait_for_all() -> None:
    if world_size() > 1:
        dist.barrier()
