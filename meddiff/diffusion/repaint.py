"""RePaint (Lugmayr et al. 2022): filling a part of a volume so that it fits the rest (section 3.5)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import SlidingWindows
from meddiff.diffusion.solvers import trailing_timesteps
from meddiff.machine.progress import OnStep, silent


def inpaint(
    windows: SlidingWindows,
    known_ZYX: Tensor,
    unknown_ZYX: Tensor,
    levels: Sequence[int],
    generator: torch.Generator,
    on_step: OnStep = silent,
) -> Tensor:
    """Return the volume with its unknown part drawn from the model, in [-1, 1]; the known part is as given.

    At every step the known part comes from the scan with the noise of that step, the unknown part from the model
    (Algorithm 1). Where the levels go back up and down again, the two come to agree.

    Args:
        windows: the model's estimate of x_0.
        known_ZYX: the scan, in [-1, 1].
        unknown_ZYX: what is drawn, bool.
        levels: the noise levels in the order in which they are visited, from pure noise to 0; see `walk`.
        generator: of all noise.
        on_step: called after every step towards less noise.
    """
    timesteps = windows.diffusion.timesteps
    schedule = Schedule(timesteps)
    steps = levels[0]
    level_t = [-1, *reversed(trailing_timesteps(steps, timesteps))]  # of level 0, 1, ..., `steps`
    done, total = 0, sum(there < here for here, there in itertools.pairwise(levels))

    def noise() -> Tensor:
        return windows.noise(generator)

    x = noise()
    for here, there in itertools.pairwise(levels):
        t, next_t = level_t[here], level_t[there]
        if there > here:
            x = _add_noise(schedule, x, t, next_t, noise())
            continue
        x0 = windows.estimate_x0(x, t, steps - here if there else None)
        of_x0, of_x, of_noise = schedule.ancestral(t, next_t)
        drawn = of_x0 * x0 + of_x * x + of_noise * noise()
        alpha, sigma = schedule.at(next_t)
        x = torch.where(unknown_ZYX, drawn, alpha * known_ZYX + sigma * noise())
        done += 1
        on_step(done, total)
    return torch.where(unknown_ZYX, x.clamp(-1, 1), known_ZYX)


def walk(steps: int, jump_length: int, resampling: int) -> list[int]:
    """Return the noise levels in the order in which they are visited, from `steps` (pure noise) to 0 (no noise).

    At level 1 and every `jump_length` levels above it the walk goes back up by as many and comes down again,
    `resampling` - 1 times; as the authors' code does, the last step to level 0 is taken once.

    Args:
        steps: ancestral steps from pure noise.
        jump_length: steps of a jump back (the paper's j).
        resampling: how often each part of the way is walked (the paper's r); 1 is without jumps.
    """
    left = dict.fromkeys(range(1, steps - jump_length + 1, jump_length), resampling - 1)
    levels, level = [steps], steps
    while level > 0:
        level -= 1
        levels.append(level)
        if left.get(level, 0) > 0:
            left[level] -= 1
            level += jump_length
            levels.append(level)
    return levels


def _add_noise(schedule: Schedule, x: Tensor, t: int, next_t: int, noise: Tensor) -> Tensor:
    """Return a draw of q(x_next | x_t) at a later timestep."""
    (alpha, sigma), (next_alpha, next_sigma) = schedule.at(t), schedule.at(next_t)
    ratio = next_alpha / alpha
    return ratio * x + (next_sigma**2 - (ratio * sigma) ** 2) ** 0.5 * noise
