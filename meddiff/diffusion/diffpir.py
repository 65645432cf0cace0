"""DiffPIR (Zhu et al. 2023, Algorithm 1): the reverse process, pulled towards a measurement at every step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import SlidingWindows, numbered
from meddiff.machine.progress import OnStep, silent

# The minimum over x of |y - Hx|^2 + rho |x - x_0|^2, from x_0 and rho.
DataStep = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Pull:
    """What draws the volume towards a measurement, and how strongly.

    Args:
        data_step: moves x_0 towards the measurement; its rho is `prior_weight` (alpha_t / sigma_t)^2.
        prior_weight: lambda sigma_n^2, where sigma_n is the noise of the measurement.
        zeta: share of fresh noise.
    """

    data_step: DataStep
    prior_weight: float
    zeta: float


def restore(
    windows: SlidingWindows,
    x_ZYX: Tensor,
    timesteps: Sequence[int],
    pull: Pull,
    generator: torch.Generator,
    on_step: OnStep = silent,
) -> Tensor:
    """Return the restored volume, in [-1, 1].

    As published, the last estimate of x_0 is the result: there is no data step after it.

    Args:
        windows: the model's estimate of x_0.
        x_ZYX: the volume at the first timestep.
        timesteps: from large to small.
        pull: the measurement.
        generator: of the fresh noise.
        on_step: called after every step.
    """
    schedule = Schedule(windows.diffusion.timesteps)
    x = x_ZYX
    for done, (step, t) in enumerate(numbered(timesteps), start=1):
        x0 = windows.estimate_x0(x, t, step)
        on_step(done, len(timesteps))
        if done == len(timesteps):
            return x0
        alpha, sigma = schedule.at(t)
        x0 = pull.data_step(x0, pull.prior_weight * (alpha / sigma) ** 2)
        noise = (x - alpha * x0) / sigma
        fresh = windows.noise(generator)
        next_alpha, next_sigma = schedule.at(timesteps[done])
        x = next_alpha * x0 + next_sigma * ((1 - pull.zeta) ** 0.5 * noise + pull.zeta**0.5 * fresh)
    raise ValueError("DiffPIR needs at least one timestep")


def evenly_spaced(start: int, steps: int) -> list[int]:
    """Return timesteps from `start` down to 0 (uniform skipping); fewer where so many do not fit in."""
    return np.unique(np.linspace(0, start, steps).round().astype(int))[::-1].tolist()
