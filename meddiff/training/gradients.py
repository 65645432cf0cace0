"""The gradients of one optimizer step, whose passes any number of processes share.

A step is the mean of `accumulation` passes of `batch_size` samples. Process `p` of `n` makes the passes `p`, `p + n`,
`p + 2 n` and so on; one that has none left waits.

Choice: the gradients are added up in the order of the passes, not in that of an all-reduce or of
DistributedDataParallel, so the result is that of one process, bit for bit, and a process without a pass needs no care.
What this costs: gradients are sent after the passes and not during them.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from meddiff.config import TrainingConfig
from meddiff.machine.seeds import seed_from
from meddiff.machine.shared_memory import readers_with_room
from meddiff.store.patches import PatchDataset, Sample, collate
from meddiff.training import distributed
from meddiff.training.objective import Noising, Objective
from meddiff.training.passes import make_pass
from meddiff.training.run import Clock, Run

log = logging.getLogger(__name__)

LONGEST_READ_S = 900  # of one batch; it is lost when something else has filled the shared memory


@dataclass(frozen=True)
class Outcome:
    """What one step's passes gave: the same on all processes, but for the seconds of waiting for data.

    Args:
        loss: mean of the passes.
        norm: of the gradients.
        stop: a process wants to stop after this step.
        save: a process wants a checkpoint after this step.
        waited: seconds.
    """

    loss: float
    norm: float
    stop: bool
    save: bool
    waited: float


class Gradients:
    """Adds up the gradients of one optimizer step.

    Args:
        run: seed, device and steps.
        objective: the loss.
        data: the samples of the whole run.
        config: the numbers.
        step: the first step.
    """

    def __init__(self, run: Run, objective: Objective, data: PatchDataset, config: TrainingConfig, step: int) -> None:
        self._run, self._objective, self._config = run, objective, config
        self._parameters = list(objective.network.parameters())
        self._pass = make_pass(objective, config, run)
        self._rounds = range(0, config.accumulation, distributed.world_size())
        self._shared = distributed.world_size() > 1
        if self._shared:
            self._sum = distributed.SumInOrder(sum(p.numel() for p in self._parameters), run.device)
            self._tell_idle_processes()
        workers = readers_with_room(run.machine.workers, config.batch_size * data[0].nbytes)
        self._batches = iter(
            DataLoader(
                data,
                batch_sampler=self._sample_numbers(step),
                num_workers=workers,
                collate_fn=collate,
                pin_memory=run.device.type == "cuda",
                timeout=LONGEST_READ_S if workers else 0,
            )
        )

    def gather(self, step: int, clock: Clock) -> Outcome:
        """Run the passes of a step; when one process wants to stop or save after it, all do."""
        losses, waited = torch.zeros(self._config.accumulation, device=self._run.device), 0.0
        for first in self._rounds:
            part = first + distributed.rank()
            if part < self._config.accumulation:
                began = time.monotonic()
                batch = next(self._batches)
                waited += time.monotonic() - began
                losses[part] = self._backward(batch.to(self._run.device), step, part)
            if self._shared:
                self._sum.add(_taken(self._parameters), self._config.accumulation - first)
        if self._shared:
            _give(self._parameters, self._sum.take())
        votes = losses.new_tensor([clock.wants_stop(), clock.wants_save()])
        found = distributed.add_up(torch.cat((losses, votes)))
        *losses, stop, save, norm = torch.cat((found, gradient_norm(self._parameters)[None])).tolist()
        return Outcome(sum(losses) / len(losses), norm, stop > 0, save > 0, waited)

    def _backward(self, batch: Sample, step: int, part: int) -> Tensor:
        seed = seed_from(self._run.seed, step, part)
        return self._pass(batch, Noising.draw(batch, self._objective.schedule.timesteps, seed))

    def _sample_numbers(self, first_step: int) -> Iterator[list[int]]:
        """Give the samples of each of this process's passes."""
        size, passes = self._config.batch_size, self._config.accumulation
        for step in range(first_step, self._run.steps):
            for part in range(distributed.rank(), passes, distributed.world_size()):
                first = (step * passes + part) * size
                yield list(range(first, first + size))

    def _tell_idle_processes(self) -> None:
        processes, passes = distributed.world_size(), self._config.accumulation
        enough = -(-passes // len(self._rounds))
        if enough < processes and distributed.rank() == 0:
            log.warning(
                "%s: %d processes share the %d passes of a step, so some of them wait; %d would be as fast",
                self._run.name, processes, passes, enough,
            )  # fmt: skip


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def _taken(parameters: Sequence[nn.Parameter]) -> Tensor | None:
    """Return the gradients as one vector and remove them; None when no pass was made."""
    if all(parameter.grad is None for parameter in parameters):
        return None
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return torch.cat(parts)


def _give(parameters: Sequence[nn.Parameter], vector: Tensor) -> None:
    """Set the gradients, in the parameters' own memory format, as the fused optimizer asks for."""
    for parameter, values in zip(parameters, vector.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(values.view(parameter.shape))
