"""The training loop, of pretraining and of fine-tuning.

All that changes is one state: weights, their moving average, optimizer, step and the usual loss. Order and noise of
a step derive from the seed and the step alone, so a run that was stopped continues exactly. A step is the same
`batch_size * accumulation` samples on any number of processes.
"""

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from meddiff.config import MachineConfig, TrainingConfig
from meddiff.data.patches import PatchDataset, Sample, collate
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.locks import locked
from meddiff.seeds import seed_from
from meddiff.training import checkpoint, distributed
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Noising, Objective
from meddiff.training.status import Status

log = logging.getLogger(__name__)

MAX_BAD_STEPS = 5
USUAL_LOSS_DECAY = 0.99
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True)
class Run:
    """What a training run is given: a name for its messages, its folder, its seed, how long it may take, and how."""

    name: str
    folder: Path
    seed: int
    device: torch.device
    max_minutes: float = float("inf")
    machine: MachineConfig = field(default_factory=MachineConfig)


def train(
    run: Run, objective: Objective, data: PatchDataset, config: TrainingConfig, monitor: Monitor | None = None
) -> nn.Module:
    """Train until `config.steps` and return the averaged network; goes on from the newest checkpoint.

    Args:
        run: where and how long.
        objective: the loss, on `run.device`.
        data: `steps * accumulation * batch_size` samples.
        config: the numbers.
        monitor: validates and draws sample images at intervals.

    Raises:
        TimeSliceEnded: time is up or a stop signal came; a checkpoint is written.
        UserError: several steps in a row were skipped; the cases are named. Or another process trains in this folder.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with _alone(run):
        return _train(run, objective, data, config, monitor)


def _train(
    run: Run, objective: Objective, data: PatchDataset, config: TrainingConfig, monitor: Monitor | None
) -> nn.Module:
    state = State(objective.network, config)
    state.restore(run)
    with _stop_requests() as stop, _status(run, state.step, config.steps) as status:
        gradients = Gradients(run, objective, data, config, state.step)
        if status and state.step == 0:
            _watch(status, monitor, objective, state, run, config)
        clock = Clock(stop, 60 * run.max_minutes, 60 * run.machine.checkpoint_minutes)
        while state.step < config.steps:
            outcome = gradients.gather(state.step, clock)
            state.advance(outcome, run, data)
            if status:
                status.update(state.step, outcome.loss, state.rate, outcome.waited, state.skipped)
                _watch(status, monitor, objective, state, run, config)
            if state.step == config.steps or outcome.stop:
                break
            if outcome.save:
                state.save(run)
                clock.saved()
        state.save(run)
    if state.step < config.steps:
        raise TimeSliceEnded(f"{run.name}: stopped at step {state.step} of {config.steps}; the same command goes on")
    return state.ema.module


@dataclass(frozen=True)
class Outcome:
    """What one step's passes gave: the same on all processes, but for `waited` and `records`."""

    loss: float
    stop: bool
    save: bool
    waited: float
    records: list[int]


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


class State:
    """All that training changes."""

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        self.network, self.config = network, config
        self.ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        self.step = self.skipped = self.bad_in_a_row = 0
        self.usual_loss = float("nan")

    @property
    def rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def advance(self, outcome: Outcome, run: Run, data: PatchDataset) -> None:
        """Apply the gathered gradients, or skip the step when it would do harm.

        Raises:
            UserError: it is one of several harmful steps in a row.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip_norm)
        if torch.isfinite(norm) and math.isfinite(outcome.loss) and not self._is_spike(outcome.loss):
            self.optimizer.step()
            self.ema.update_parameters(self.network)
            before = outcome.loss if math.isnan(self.usual_loss) else self.usual_loss
            self.usual_loss = USUAL_LOSS_DECAY * before + (1 - USUAL_LOSS_DECAY) * outcome.loss
            self.bad_in_a_row = 0
        else:
            self._skip(outcome, run, data)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def restore(self, run: Run) -> None:
        saved = checkpoint.load_latest(run.folder, run.device)
        if saved is None:
            return
        self.network.load_state_dict(saved["model"])
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.skipped, self.usual_loss = saved["step"], saved["skipped"], saved["usual_loss"]
        log.info("%s: going on from step %d", run.name, self.step)

    def save(self, run: Run) -> None:
        """Write a checkpoint, by one process for all."""
        if distributed.rank() == 0:
            saved: dict[str, Any] = {
                "step": self.step,
                "skipped": self.skipped,
                "usual_loss": self.usual_loss,
                "model": self.network.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            checkpoint.save(saved, self.step, run.folder, run.machine.keep_checkpoints)
        distributed.wait_for_all()

    def _is_spike(self, loss: float) -> bool:
        return loss > self.config.spike_factor * self.usual_loss  # false while the usual loss is not a number

    def _skip(self, outcome: Outcome, run: Run, data: PatchDataset) -> None:
        self.skipped += 1
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= MAX_BAD_STEPS:
            names = ", ".join(sorted({data.records[number].meta.id for number in outcome.records}))
            raise UserError(
                f"{run.name}: the loss is {outcome.loss:.3g}, usually {self.usual_loss:.3g}, "
                f"{self.bad_in_a_row} steps in a row; look at {names}"
            )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then constant or half a cosine down to 0."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.learning_rate_decay == "constant":
        return config.learning_rate * warmup
    return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / config.steps))


class Gradients:
    """Adds up the gradients of one optimizer step, in each process those of its own parts of the step.

    Args:
        run: seed and device.
        objective: the loss.
        data: the samples of the whole run.
        config: the numbers.
        step: the first step.

    Raises:
        UserError: the step has no equal share for every process.
    """

    def __init__(self, run: Run, objective: Objective, data: PatchDataset, config: TrainingConfig, step: int) -> None:
        world = distributed.world_size()
        if config.accumulation % world:
            raise UserError(
                f"training.accumulation {config.accumulation} cannot be shared by {world} processes; "
                f"choose a multiple of {world}, and a batch_size that keeps their product"
            )
        self._run, self._objective, self._config = run, objective, config
        self._parts = range(distributed.rank(), config.accumulation, world)
        self._shared: nn.Module = objective
        if world > 1:
            devices = [run.device] if run.device.type == "cuda" else None
            self._shared = DistributedDataParallel(objective, device_ids=devices)
        self._batches = iter(
            DataLoader(
                data,
                batch_sampler=self._sample_numbers(step),
                num_workers=run.machine.workers,
                collate_fn=collate,
                pin_memory=run.device.type == "cuda",
            )
        )

    def gather(self, step: int, clock: Clock) -> Outcome:
        """Run the passes of a step; when one process wants to stop or save after it, all do."""
        total, records, waited = torch.zeros((), device=self._run.device), [], 0.0
        for part in self._parts:
            began = time.monotonic()
            batch = next(self._batches)
            waited += time.monotonic() - began
            records += batch.record.tolist()  # type: ignore[attr-defined]
            total += self._backward(batch.to(self._run.device), step, part)
        votes = total.new_tensor([clock.wants_stop(), clock.wants_save()])
        loss, stop, save = distributed.add_up(torch.cat((total[None], votes))).tolist()
        return Outcome(loss / self._config.accumulation, stop > 0, save > 0, waited, records)

    def _backward(self, batch: Sample, step: int, part: int) -> Tensor:
        noising = Noising.draw(batch, self._objective.schedule.timesteps, seed_from(self._run.seed, step, part))
        device, bfloat16 = self._run.device.type, self._config.bfloat16
        with self._synchronised(part == self._parts[-1]):
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                loss = self._shared(batch, noising).mean()
            (loss / len(self._parts)).backward()
        return loss.detach()

    def _synchronised(self, last: bool) -> AbstractContextManager:
        """Let the processes exchange gradients with the last part only."""
        if isinstance(self._shared, DistributedDataParallel) and not last:
            return self._shared.no_sync()
        return nullcontext()

    def _sample_numbers(self, first_step: int) -> Iterator[list[int]]:
        size = self._config.batch_size
        for step in range(first_step, self._config.steps):
            for part in self._parts:
                first = (step * self._config.accumulation + part) * size
                yield list(range(first, first + size))


def _watch(
    status: Status, monitor: Monitor | None, objective: Objective, state: State, run: Run, config: TrainingConfig
) -> None:
    """Validate and draw samples with the averaged network when it is time."""
    if monitor is None:
        return
    averaged = objective.of(state.ema.module)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=config.bfloat16):
        if state.step % run.machine.validate_every == 0 or state.step == config.steps:
            status.validation(state.step, monitor.losses(averaged))
        if state.step and (state.step % run.machine.sample_every == 0 or state.step == config.steps):
            status.pictures(state.step, monitor.pictures(averaged))


def _alone(run: Run) -> AbstractContextManager:
    """Let no second run into the folder; the first of the processes that share a run answers for all."""
    return locked(run.folder / "lock", f"{run.name}: {run.folder}") if distributed.rank() == 0 else nullcontext()


@contextmanager
def _status(run: Run, step: int, steps: int) -> Iterator[Status | None]:
    """Give the reports of a run to one of its processes."""
    if distributed.rank() != 0:
        yield None
        return
    status = Status(run.name, run.folder, step, steps, run.machine.status_seconds)
    try:
        yield status
    finally:
        status.close()


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Give a list that fills when a stop signal comes, so that the loop can end between two steps."""
    received: list[int] = []
    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
