"""The training loop, of pretraining and of fine-tuning.

All that changes is one state: weights, their moving average, optimizer, step and the usual loss. Order and noise of
a step derive from the seed and the step alone, so a run that was stopped continues exactly. A step is the same
`batch_size * accumulation` samples, and has the same result, on any number of processes.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from meddiff.config import TrainingConfig
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.machine.device import autocast
from meddiff.store.patches import PatchDataset
from meddiff.training import checkpoint, distributed
from meddiff.training.gradients import Gradients, Outcome
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Objective
from meddiff.training.run import Clock, Run, alone, stop_requests
from meddiff.training.status import Status

log = logging.getLogger(__name__)

MAX_BAD_STEPS = 5
USUAL_LOSS_DECAY = 0.99


def train(
    run: Run, objective: Objective, data: PatchDataset, config: TrainingConfig, monitor: Monitor | None = None
) -> nn.Module:
    """Train until `run.steps` and return the averaged network; goes on from the newest checkpoint.

    Args:
        run: where and how long.
        objective: the loss, on `run.device`.
        data: the samples of all steps.
        config: the numbers.
        monitor: validates and draws sample images at intervals.

    Raises:
        TimeSliceEnded: time is up or a stop signal came; a checkpoint is written.
        UserError: several steps in a row were skipped; the cases are named. Or another process trains in this folder.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with alone(run):
        return _train(run, objective, data, config, monitor)


def _train(
    run: Run, objective: Objective, data: PatchDataset, config: TrainingConfig, monitor: Monitor | None
) -> nn.Module:
    if distributed.rank() == 0:
        _tell_length(run, config, len(data.records))
    state = State(objective.network, config)
    state.restore(run)
    with stop_requests() as stop, _status(run, state.step) as status:
        gradients = Gradients(run, objective, data, config, state.step)
        if status and state.step == 0:
            _watch(status, monitor, objective, state, run, config)
        clock = Clock(stop, 60 * run.max_minutes, 60 * run.machine.checkpoint_minutes)
        while state.step < run.steps:
            outcome = gradients.gather(state.step, clock)
            state.advance(outcome, run, data)
            if status:
                status.update(state.step, outcome.loss, state.rate, outcome.waited, state.skipped)
                _watch(status, monitor, objective, state, run, config)
            if state.step == run.steps or outcome.stop:
                break
            if outcome.save:
                state.save(run)
                clock.saved()
        state.save(run)
    if state.step < run.steps:
        raise TimeSliceEnded(f"{run.name}: stopped at step {state.step} of {run.steps}; the same command goes on")
    return state.ema.module


class State:
    """All that training changes."""

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        self.network, self.config = network, config
        self.ema = AveragedModel(network)
        self._parameters: list[Tensor] = list(network.parameters())
        self._averaged: list[Tensor] = list(self.ema.module.parameters())
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
            group["lr"] = learning_rate(self.step, run.steps, self.config)
        if math.isfinite(outcome.norm) and math.isfinite(outcome.loss) and not self._is_spike(outcome.loss):
            if outcome.norm > self.config.gradient_clip_norm:
                norm = torch.tensor(outcome.norm)
                nn.utils.clip_grads_with_norm_(self._parameters, self.config.gradient_clip_norm, norm)
            self.optimizer.step()
            self._average(update=self.step - self.skipped)
            before = outcome.loss if math.isnan(self.usual_loss) else self.usual_loss
            self.usual_loss = USUAL_LOSS_DECAY * before + (1 - USUAL_LOSS_DECAY) * outcome.loss
            self.bad_in_a_row = 0
        else:
            self._skip(outcome, run, data)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def restore(self, run: Run) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            UserError: the processes that share the run found different ones.
        """
        saved = checkpoint.load_latest(run.folder, run.device)
        if saved is not None:
            self.network.load_state_dict(saved["model"])
            self.ema.load_state_dict(saved["ema"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.step, self.skipped, self.usual_loss = saved["step"], saved["skipped"], saved["usual_loss"]
            log.info("%s: going on from step %d", run.name, self.step)
        if len(set(steps := distributed.of_all(self.step, run.device))) > 1:
            raise UserError(
                f"{run.name}: the processes found checkpoints of the steps {steps}; "
                f"{run.folder} has to be the same folder on all nodes"
            )

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

    @torch.no_grad()
    def _average(self, update: int) -> None:
        """Bring the moving average up to date; what `AveragedModel` itself does, without its two waits for a GPU."""
        decay = ema_decay(update, self.config) if update else 0.0
        get_ema_multi_avg_fn(decay)(self._averaged, self._parameters, self.ema.n_averaged)
        self.ema.n_averaged += 1

    def _is_spike(self, loss: float) -> bool:
        return loss > self.config.spike_factor * self.usual_loss  # false while the usual loss is not a number

    def _skip(self, outcome: Outcome, run: Run, data: PatchDataset) -> None:
        self.skipped += 1
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= MAX_BAD_STEPS:
            first, size = self.step * self.config.samples_per_step, self.config.samples_per_step
            records = {data.records[data.record_of(number)].meta.id for number in range(first, first + size)}
            raise UserError(
                f"{run.name}: the loss is {outcome.loss:.3g}, usually {self.usual_loss:.3g}, "
                f"{self.bad_in_a_row} steps in a row; look at {', '.join(sorted(records))}"
            )


def ema_decay(update: int, config: TrainingConfig) -> float:
    """Return the decay of the weights' moving average at its update number `update`, from 0.

    Choice: it rises to the configured one as (1 + n) / (10 + n), so that the average forgets the first weights also in
    a run that is shorter than its memory.
    """
    return min(config.ema_decay, (1 + update) / (10 + update))


def learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step of so many: linear warm-up, then constant or half a cosine down to 0."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.learning_rate_decay == "constant":
        return config.learning_rate * warmup
    return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / steps))


def _watch(
    status: Status, monitor: Monitor | None, objective: Objective, state: State, run: Run, config: TrainingConfig
) -> None:
    """Validate and draw samples with the averaged network when it is time."""
    if monitor is None:
        return
    averaged = objective.with_network(state.ema.module)
    with autocast(run.device, config.bfloat16):
        if state.step % run.machine.validate_every == 0 or state.step == run.steps:
            status.validation(state.step, monitor.losses(averaged))
        if state.step and (state.step % run.machine.sample_every == 0 or state.step == run.steps):
            status.pictures(state.step, monitor.pictures(averaged))


def _tell_length(run: Run, config: TrainingConfig, regions: int) -> None:
    size = config.samples_per_step
    log.info(
        "%s: %d steps of %d samples (batch_size %d x accumulation %d), %.4g epochs of %d regions",
        run.name, run.steps, size, config.batch_size, config.accumulation, run.steps * size / regions, regions,
    )  # fmt: skip


@contextmanager
def _status(run: Run, step: int) -> Iterator[Status | None]:
    """Give the reports of a run to one of its processes."""
    if distributed.rank() != 0:
        yield None
        return
    status = Status(run.name, run.folder, step, run.steps, run.machine.status_seconds)
    try:
        yield status
    finally:
        status.close()
