"""The training loop.

All that changes is one state: weights, their moving average, optimizer and step. Order and noise of a step
derive from the seed and the step alone, so a run that was stopped continues exactly.
"""

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from meddiff.config import TrainingConfig
from meddiff.data.patches import PatchDataset, Sample, collate
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.progress import duration
from meddiff.training import checkpoint

log = logging.getLogger(__name__)

MAX_BAD_STEPS = 5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@dataclass(frozen=True)
class Run:
    """What a training run is given: a name for its messages, its folder, its seed and how long it may take."""

    name: str
    folder: Path
    seed: int
    device: torch.device
    max_minutes: float = float("inf")


def train(
    run: Run, model: nn.Module, data: PatchDataset, schedule: Schedule, prediction: str, config: TrainingConfig
) -> nn.Module:
    """Train until `config.steps` and return the averaged model; goes on from the newest checkpoint.

    Args:
        run: where and how long.
        model: a network with the interface of `UNet`, on `run.device`.
        data: `steps * accumulation * batch_size` samples.
        schedule: the noise schedule.
        prediction: what the network estimates.
        config: the numbers.

    Raises:
        TimeSliceEnded: time is up or a stop signal came; a checkpoint is written.
        UserError: the loss was not finite in several steps in a row; the cases are named.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    step = _restore(run, model, ema, optimizer)
    status = _Status(run, config, step)
    deadline = time.monotonic() + 60 * run.max_minutes
    saved_at, bad_steps = time.monotonic(), 0

    def save() -> None:
        state = {
            "step": step,
            "model": model.state_dict(),
            "ema": ema.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        checkpoint.save(state, step, run.folder, config.keep_checkpoints)

    model.train()
    with _stop_requests() as stop:
        batches = _batches(data, step, config)
        while step < config.steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            loss, records = _accumulate(run, model, batches, schedule, prediction, config, step)
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip_norm)
            if torch.isfinite(norm) and np.isfinite(loss):
                optimizer.step()
                ema.update_parameters(model)
                bad_steps = 0
            else:
                bad_steps += 1
                status.skipped += 1
                if bad_steps >= MAX_BAD_STEPS:
                    names = ", ".join(sorted({data.records[r].meta.id for r in records}))
                    raise UserError(f"{run.name}: the loss is not finite {bad_steps} steps in a row; look at {names}")
            optimizer.zero_grad(set_to_none=True)
            step += 1
            status.update(step, loss, optimizer.param_groups[0]["lr"])
            if step == config.steps or stop or time.monotonic() > deadline:
                break
            if time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
                save()
                saved_at = time.monotonic()
        save()
    if step < config.steps:
        raise TimeSliceEnded(f"{run.name}: stopped at step {step} of {config.steps}; the same command goes on")
    return ema.module


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then constant or half a cosine down to 0."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.learning_rate_decay == "constant":
        return config.learning_rate * warmup
    return config.learning_rate * warmup * 0.5 * (1 + np.cos(np.pi * step / config.steps))


def diffusion_loss(
    model: nn.Module, batch: Sample, noise_BCZYX: Tensor, t_B: Tensor, schedule: Schedule, prediction: str
) -> Tensor:
    """Return the L1 loss of Eq. 1, a float32 scalar."""
    x_t = schedule.add_noise(batch.image, noise_BCZYX, t_B)
    condition = model.encode_condition(batch.anatomy, batch.coordinates)  # type: ignore[operator]
    estimate = model(x_t, t_B, batch.region, condition)
    return F.l1_loss(estimate.float(), schedule.target(prediction, batch.image, noise_BCZYX, t_B))


def _accumulate(
    run: Run,
    model: nn.Module,
    batches: Iterator[Sample],
    schedule: Schedule,
    prediction: str,
    config: TrainingConfig,
    step: int,
) -> tuple[float, list[int]]:
    """Add up the gradients of one optimizer step; return the mean loss and the records it saw."""
    total, records = 0.0, []
    for part in range(config.accumulation):
        batch = next(batches)
        records += batch.record.tolist()  # type: ignore[attr-defined]
        batch = Sample(*(getattr(batch, name).to(run.device) for name in Sample.__dataclass_fields__))
        generator = torch.Generator(run.device).manual_seed(_step_seed(run.seed, step, part))
        t_B = torch.randint(schedule.timesteps, (len(batch.image),), generator=generator, device=run.device)
        noise = torch.randn(batch.image.shape, generator=generator, device=run.device)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=config.bfloat16):
            loss = diffusion_loss(model, batch, noise, t_B, schedule, prediction)
        (loss / config.accumulation).backward()
        total += loss.item() / config.accumulation
    return total, records


def _batches(data: PatchDataset, step: int, config: TrainingConfig) -> Iterator[Sample]:
    first = step * config.accumulation * config.batch_size
    numbers = range(first, len(data))
    return iter(DataLoader(data, config.batch_size, sampler=numbers, num_workers=config.workers, collate_fn=collate))


def _restore(run: Run, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    state = checkpoint.load_latest(run.folder, run.device)
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("%s: going on from step %d", run.name, state["step"])
    return state["step"]


def _step_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


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


class _Status:
    """One status line and one line of `stats.jsonl` per tick."""

    def __init__(self, run: Run, config: TrainingConfig, step: int) -> None:
        self._run, self._config = run, config
        self._start = self._tick = time.monotonic()
        self._first_step = self._tick_step = step
        self._losses: list[float] = []
        self.skipped = 0

    def update(self, step: int, loss: float, rate: float) -> None:
        self._losses.append(loss)
        now = time.monotonic()
        if now - self._tick < self._config.status_seconds and step < self._config.steps:
            return
        seconds = (now - self._tick) / (step - self._tick_step)
        left = (now - self._start) / (step - self._first_step) * (self._config.steps - step)
        finite = [value for value in self._losses if np.isfinite(value)]
        mean = sum(finite) / len(finite) if finite else float("nan")
        log.info(
            "%s step %d/%d, loss %.4f, %.2f s per step, %s left%s",
            self._run.name, step, self._config.steps, mean, seconds, duration(left),
            f", {self.skipped} steps skipped" if self.skipped else "",
        )  # fmt: skip
        row = {"step": step, "loss": mean, "learning_rate": rate, "seconds_per_step": seconds, "skipped": self.skipped}
        with (self._run.folder / "stats.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._tick, self._tick_step, self._losses = now, step, []
