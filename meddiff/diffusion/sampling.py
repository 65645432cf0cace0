"""Drawing a whole volume: one solver step after the other, from pure noise to a CT."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from meddiff.diffusion.sliding import Cost, SlidingWindows, numbered
from meddiff.diffusion.solvers import VolumeSolver
from meddiff.machine.faults import machine_fault
from meddiff.machine.files import temporary_beside
from meddiff.machine.progress import OnStep, silent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedState:
    """Where a long volume keeps its state: a file, and what the state must have been made for to be used."""

    path: Path
    identity: str

    def save(self, **state: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(self.path) as temporary:
            torch.save({"identity": self.identity, **state}, temporary)

    def load(self) -> dict[str, Any] | None:
        """Return the state; None where there is none for the same volume and settings, or it is damaged."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises one of many types
            if machine_fault(error):
                raise
            log.warning("%s is damaged (%s); starting anew", self.path.name, type(error).__name__)
            return None
        return state if state["identity"] == self.identity else None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def sample_volume(
    windows: SlidingWindows,
    seed: int,
    saved: SavedState | None = None,
    steps: int | None = None,
    on_step: OnStep = silent,
) -> Tensor:
    """Return a volume drawn from the model, (Z, Y, X), in [-1, 1], on the CPU.

    Args:
        windows: the model's estimate for this volume, and how to sample.
        seed: of the first noise and of a stochastic solver; the result does not depend on the batching of windows.
        saved: where the state is written every `save_every_steps` steps; a volume that was interrupted is resumed
            from there, with the same result.
        steps: of the solver; none: as configured.
        on_step: called after every step.
    """
    config = windows.config if steps is None else windows.config.model_copy(update={"steps": steps})
    generator = torch.Generator().manual_seed(seed)
    x = windows.noise(generator)
    solver = VolumeSolver(config, windows.diffusion, windows.size_zyx)
    first, state = 0, saved.load() if saved else None
    if state:
        first, x = state["step"], state["x"].to(windows.device)
        generator.set_state(state["generator"])
        solver.restore(state["solver"], windows.device)
        windows.cost = Cost(**state["cost"])
        log.info("resumed from step %d", first)
    total = len(solver.timesteps)
    for done, (step, t) in list(enumerate(numbered(solver.timesteps), start=1))[first:]:
        solver.step(windows.estimate_x0(x, t, step), t, x, generator)
        on_step(done, total)
        if saved and done % windows.machine.save_every_steps == 0 and done < total:
            saved.save(step=done, x=x, generator=generator.get_state(), solver=solver.state(), cost=vars(windows.cost))
    if saved:
        saved.remove()
    return windows.inner(x.clamp_(-1, 1)).cpu()
