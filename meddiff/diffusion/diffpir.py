"""DiffPIR (Zhu et al. 2023, Algorithm 1): the reverse process, pulled towards a measurement at every step."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import SlidingWindows
from meddiff.machine.progress import Progress

STATUS_SECONDS = 5.0
# The minimum over x of |y - Hx|^2 + rho |x - x_0|^2, from x_0 and rho.
DataStep = Callable[[Tensor, float], Tensor]


def restore(
    windows: SlidingWindows,
    x_ZYX: Tensor,
    timesteps: Sequence[int],
    data_step: DataStep,
    prior_weight: float,
    zeta: float,
    generator: torch.Generator,
    name: str,
) -> Tensor:
    """Return the restored volume, in [-1, 1].

    As published, the last estimate of x_0 is the result: there is no data step after it.

    Args:
        windows: the model's estimate of x_0.
        x_ZYX: the volume at the first timestep.
        timesteps: from large to small.
        data_step: pulls x_0 towards the measurement; its rho is `prior_weight` (alpha_t / sigma_t)^2.
        prior_weight: lambda sigma_n^2, where sigma_n is the noise of the measurement.
        zeta: share of fresh noise.
        generator: of that noise.
        name: for the progress lines.
    """
    schedule = Schedule(windows.diffusion.timesteps)
    progress = Progress(name, len(timesteps), STATUS_SECONDS)
    x = x_ZYX
    for step, (t, next_t) in enumerate(zip(timesteps, [*timesteps[1:], None], strict=True)):
        x0 = windows.estimate_x0(x, t, None if next_t is None else step)
        progress.step("steps")
        if next_t is None:
            return x0
        alpha, sigma = schedule.at(t)
        x0 = data_step(x0, prior_weight * (alpha / sigma) ** 2)
        noise = (x - alpha * x0) / sigma
        fresh = windows.noise(generator)
        next_alpha, next_sigma = schedule.at(next_t)
        x = next_alpha * x0 + next_sigma * ((1 - zeta) ** 0.5 * noise + zeta**0.5 * fresh)
    raise ValueError("DiffPIR needs at least one timestep")


def evenly_spaced(start: int, steps: int) -> list[int]:
    """Return timesteps from `start` down to 0 (uniform skipping); fewer where so many do not fit in."""
    return np.unique(np.linspace(0, start, steps).round().astype(int))[::-1].tolist()
