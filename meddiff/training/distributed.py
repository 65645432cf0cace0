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


def of_all(number: int, device: torch.device) -> list[int]:
    """Return the numbers of all processes; all of them call this."""
    numbers = torch.zeros(world_size(), dtype=torch.int64, device=device)
    numbers[rank()] = number
    return add_up(numbers).tolist()


class SumInOrder:
    """Adds up vectors of the processes in their order, so that every bit of the sum is that of one process alone.

    In each round the processes have one vector each, or only the first of them. Each process adds up its own share of
    the elements, and the shares are then put together: as much is sent as by an all-reduce.

    Args:
        size: elements of a vector.
        device: where they are.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._size, share = size, -(-size // world_size())
        self._sent = torch.zeros(world_size(), share, device=device)
        self._received = torch.zeros_like(self._sent)
        self._sum = torch.full((share,), -0.0, device=device)  # unlike 0, changes no sign of a zero

    def add(self, vector: Tensor | None, vectors: int) -> None:
        """Add a round; all processes call this.

        Args:
            vector: of this process, (size), float32; None when it has none.
            vectors: how many are left for this round and those to come; the first processes have them.
        """
        if vector is not None:
            self._sent.view(-1)[: self._size] = vector
        dist.all_to_all_single(self._received, self._sent)
        for row in self._received[:vectors]:
            self._sum += row

    def take(self) -> Tensor:
        """Return the sum, (size), and begin a new one; all processes call this."""
        whole = torch.empty_like(self._sent)
        dist.all_gather(list(whole), self._sum)
        self._sum.fill_(-0.0)
        return whole.view(-1)[: self._size]


def wait_for_all() -> None:
    if world_size() > 1:
        dist.barrier()
