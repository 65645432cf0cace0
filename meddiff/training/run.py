"""A training run: what it is given, its claim on its folder, and when it ends or writes a checkpoint."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch

from meddiff.config import MachineConfig
from meddiff.machine.locks import locked
from meddiff.training import distributed

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True)
class Run:
    """What a training run is given: a name for its messages, its folder, its seed, its length in optimizer steps, how
    long it may take now, and how it runs."""

    name: str
    folder: Path
    seed: int
    device: torch.device
    steps: int
    max_minutes: float = float("inf")
    machine: MachineConfig = field(default_factory=MachineConfig)


class Clock:
    """When this process would have the run stop or be saved.

    The clocks of processes differ, as one of them validates and writes: all do what any of them asks for at the end of
    a step, and nothing that they have to do together depends on the clock of one.

    Args:
        stop_requests: not empty when a stop signal came.
        stop_after_s: seconds from now to the end of the time slice.
        save_every_s: seconds between checkpoints.
    """

    def __init__(self, stop_requests: list[int], stop_after_s: float, save_every_s: float) -> None:
        self._stop_requests, self._stop_after_s, self._save_every_s = stop_requests, stop_after_s, save_every_s
        self._began = self._saved = time.monotonic()

    def wants_stop(self) -> bool:
        return bool(self._stop_requests) or time.monotonic() - self._began > self._stop_after_s

    def wants_save(self) -> bool:
        return time.monotonic() - self._saved > self._save_every_s

    def saved(self) -> None:
        self._saved = time.monotonic()


def alone(run: Run) -> AbstractContextManager:
    """Let no second run into the folder; the first of the processes that share a run answers for all."""
    return locked(run.folder / "lock", f"{run.name}: {run.folder}") if distributed.rank() == 0 else nullcontext()


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Give a list that fills when a stop signal comes, so that the loop can end between two steps."""
    received: list[int] = []
    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
