"""What a training run tells: a status line, a line of `stats.jsonl` and TensorBoard's values at every tick."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meddiff.machine.progress import duration

log = logging.getLogger(__name__)

STATISTICS = "stats.jsonl"


def last_validation(folder: Path) -> dict[str, float]:
    """Return a run's last validation losses by `region/level`; empty when it had no validation split."""
    rows = [json.loads(line) for line in (folder / STATISTICS).read_text().splitlines()]
    prefix = "validation/"
    found = [{k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)} for row in rows]
    return next((losses for losses in reversed(found) if losses), {})


class Status:
    """Gathers the losses of a run and reports them in intervals.

    Args:
        name: for the status lines.
        folder: the run folder.
        step: where the run begins; what an earlier part of the run wrote after it is dropped.
        steps: where it ends.
        every_seconds: time between reports.
    """

    def __init__(self, name: str, folder: Path, step: int, steps: int, every_seconds: float) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._name, self._folder, self._steps, self._every = name, folder, steps, every_seconds
        self._start = self._tick = time.monotonic()
        self._first_step = self._tick_step = step
        self._losses: list[float] = []
        self._waited = 0.0
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)
        self._drop_rows_after(step)

    def update(self, step: int, loss: float, rate: float, waited: float, skipped: int) -> None:
        """Count one optimizer step; report when the interval is over or the run ends.

        Args:
            step: steps done.
            loss: mean loss of the step.
            rate: learning rate.
            waited: seconds of the step in which the device waited for data.
            skipped: steps left out so far.
        """
        self._losses.append(loss)
        self._waited += waited
        now = time.monotonic()
        if now - self._tick < self._every and step < self._steps:
            return
        elapsed, count = now - self._tick, step - self._tick_step
        left = (now - self._start) / (step - self._first_step) * (self._steps - step)
        finite = [value for value in self._losses if np.isfinite(value)]
        row = {
            "step": step,
            "loss": sum(finite) / len(finite) if finite else float("nan"),
            "learning_rate": rate,
            "seconds_per_step": elapsed / count,
            "data_wait_share": self._waited / elapsed,
            "skipped": skipped,
        }
        if torch.cuda.is_available():
            row["peak_gpu_gb"] = torch.cuda.max_memory_allocated() / 1e9
        log.info(
            "%s step %d/%d, loss %.4f, %.2f s per step (%.0f %% waiting for data), %s left%s",
            self._name, step, self._steps, row["loss"], row["seconds_per_step"], 100 * row["data_wait_share"],
            duration(left), f", {skipped} steps skipped" if skipped else "",
        )  # fmt: skip
        self._write(row)
        self._tick, self._tick_step, self._losses, self._waited = now, step, [], 0.0

    def validation(self, step: int, losses: dict[str, float]) -> None:
        """Report validation losses by `region/level`."""
        log.info("%s step %d: validation %s", self._name, step, ", ".join(f"{k} {v:.4f}" for k, v in losses.items()))
        self._write({"step": step} | {f"validation/{name}": loss for name, loss in losses.items()})

    def pictures(self, step: int, pictures: dict[str, Tensor]) -> None:
        """Write sample images (Y, X) in [0, 1], by name, for TensorBoard and as files."""
        from PIL import Image

        for name, picture in pictures.items():
            self._board.add_image(f"sample/{name}", picture, step, dataformats="HW")
            path = self._folder / "samples" / f"{name}-{step:09d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray((picture.numpy() * 255).round().astype(np.uint8)).save(path)

    def close(self) -> None:
        self._board.close()

    def _write(self, row: dict[str, Any]) -> None:
        with (self._folder / STATISTICS).open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, row["step"])

    def _drop_rows_after(self, step: int) -> None:
        path = self._folder / STATISTICS
        if path.exists():
            rows = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
            path.write_text("".join(f"{row}\n" for row in rows))
