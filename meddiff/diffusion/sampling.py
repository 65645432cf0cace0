"""Drawing a whole volume: one solver step after the other, from pure noise to a CT."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from meddiff.config import DiffusionConfig, MachineConfig, SamplingConfig
from meddiff.diffusion.levels import at_level, carried, own_windows, parts_of
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, Cost, Network, SlidingWindows, numbered
from meddiff.diffusion.solvers import MOST_NOISE, Solver, Span, make_solver
from meddiff.machine.faults import machine_fault
from meddiff.machine.files import temporary_beside
from meddiff.machine.progress import OnStep, silent

log = logging.getLogger(__name__)
VERSION = 3  # of a saved state; higher when solvers remember something else


@dataclass(frozen=True)
class SavedState:
    """Where a long volume keeps its state: a file, and what the state must have been made for to be used."""

    path: Path
    identity: str

    def save(self, **state: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(self.path) as temporary:
            torch.save({"version": VERSION, "identity": self.identity, **state}, temporary)

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
        return state if (state.get("version"), state["identity"]) == (VERSION, self.identity) else None


@dataclass(frozen=True)
class Level:
    """A part of the way from noise to a CT.

    Args:
        windows: the estimates of the volume of this level.
        steps: of the solver; none: as configured.
        span: of the noise; none: from noise alone to the last one configured.
    """

    windows: SlidingWindows
    steps: int | None = None
    span: Span | None = None

    def solver(self) -> Solver:
        config, diffusion = self.windows.config, self.windows.diffusion
        name, steps, spacing = config.recipe(diffusion.prediction)
        span = self.span or Span(MOST_NOISE, config.last_noise)
        return make_solver(name, self.steps or steps, diffusion.timesteps, spacing, span)


def levels_of(
    networks: Sequence[Network],
    diffusion: DiffusionConfig,
    condition: Condition,
    config: SamplingConfig,
    seed: int = 0,
    machine: MachineConfig | None = None,
) -> list[Level]:
    """Return the way from noise to a volume that is a whole region; the arguments are those of `SlidingWindows`."""
    size, patch_vox = tuple(condition.anatomy_ZYX.shape), networks[0].config.patch_vox
    levels = []
    for part in parts_of(config, diffusion.prediction, size, patch_vox):
        shown = at_level(condition, part.level, patch_vox)
        windows = SlidingWindows(networks, diffusion, shown, own_windows(config), seed, machine)
        levels.append(Level(windows, part.steps, part.span))
    return levels


def sample_volume(
    windows: SlidingWindows,
    seed: int,
    saved: SavedState | None = None,
    steps: int | None = None,
    on_step: OnStep = silent,
) -> Tensor:
    """Return a volume drawn from the model at one level alone (section 3.3, Fig. 4); see `sample_levels`."""
    return sample_levels([Level(windows, steps)], seed, saved, on_step)


def sample_levels(
    levels: Sequence[Level], seed: int, saved: SavedState | None = None, on_step: OnStep = silent
) -> Tensor:
    """Return a volume drawn from the model, (Z, Y, X), in [-1, 1], on the CPU.

    Each level begins with the volume of the one before, brought to its voxels and with the noise of its span.

    Args:
        levels: from coarse to fine.
        seed: of all noise; the result does not depend on the batching of windows.
        saved: where the state is written every `save_every_steps` steps; a volume that was interrupted is resumed
            from there, with the same result. It is there until whoever writes the volume removes it.
        on_step: called after every step.
    """
    generator = torch.Generator().manual_seed(seed)
    solvers = [level.solver() for level in levels]
    steps = [(number, *each) for number, solver in enumerate(solvers) for each in numbered(solver.timesteps)]
    begins = {(number, solver.timesteps[0]) for number, solver in enumerate(solvers)}
    x, first, state = torch.empty(0), 0, saved.load() if saved else None
    if state:
        x, first = _go_on(levels, state, generator)
        number, _, t = steps[first]
        x = x.to(levels[number].windows.device)
        if (number, t) not in begins:
            solvers[number].restore(state["solver"], x.device)
    for done, (number, step, t) in list(enumerate(steps, start=1))[first:]:
        windows, solver = levels[number].windows, solvers[number]
        if (number, t) in begins:
            x = _begin(levels[: number + 1], x, t, generator)
        solver.step(windows.estimate_x0(x, t, step), t, x, generator)
        on_step(done, len(steps))
        if saved and done % windows.machine.save_every_steps == 0 and done < len(steps):
            costs = [vars(level.windows.cost) for level in levels]
            saved.save(step=done, x=x, generator=generator.get_state(), solver=solver.state(), costs=costs)
    return levels[-1].windows.inner(x.clamp_(-1, 1)).cpu()


def _go_on(levels: Sequence[Level], state: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, int]:
    """Return the volume of a saved state and how many steps were taken; levels and generator are as they were then."""
    for level, cost in zip(levels, state["costs"], strict=True):
        level.windows.cost = Cost(**cost)
    generator.set_state(state["generator"])
    log.info("resumed from step %d", state["step"])
    return state["x"], state["step"]


def _begin(levels: Sequence[Level], x_ZYX: Tensor, t: int, generator: torch.Generator) -> Tensor:
    """Return the volume that the last of some levels begins with, from that of the level before, if there is one."""
    windows = levels[-1].windows
    noise = windows.noise(generator)
    if len(levels) == 1:
        return noise
    alpha, sigma = Schedule(windows.diffusion.timesteps).at(t)
    before = levels[-2].windows
    before.forget_conditions()
    return alpha * carried(before, x_ZYX, windows) + sigma * noise
