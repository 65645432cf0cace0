"""The solvers, by name; all of them are given x_0.

They are few lines of one family, and give what those of diffusers give, which the tests compare them with.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from meddiff.diffusion.schedule import Schedule

NAMES = ("ddpm", "ddim", "dpm-solver++", "unipc")
MOST_NOISE = 20.0  # sigma / alpha with which log-SNR spacing begins
SLAB_VOXELS = 2**22  # of which noise is drawn at once
REMEMBERED = {"ddpm": 0, "ddim": 0, "dpm-solver++": 1, "unipc": 2}  # estimates of x_0


class Span(NamedTuple):
    """Between which noise, sigma / alpha, log-SNR spacing takes its steps, as far as the schedule has it."""

    first: float
    last: float


WHOLE = Span(MOST_NOISE, 0.0)


class Solver:
    """The steps from noise to a clean volume, in place of it.

    `ddpm` draws x from q(x_next | x_t, x_0) (Ho et al. 2020, Eq. 6). `ddim` goes on with the noise that x_0 leaves in
    x_t (Song et al. 2021, Eq. 12, eta = 0). `dpm-solver++` does that with the x_0 that its last two estimates let
    expect in the middle of the step (Lu et al. 2022, Algorithm 2). `unipc` does so, too, and corrects x once it has the
    estimate there (Zhao et al. 2023, second order, B(h) = e^h - 1).

    Args:
        name: one of `NAMES`.
        timesteps: from large to small; the last step ends at the clean volume.
        schedule: of the model.
    """

    def __init__(self, name: str, timesteps: list[int], schedule: Schedule) -> None:
        self.timesteps = timesteps
        self._name, self._schedule = name, schedule
        self._later = dict(pairwise([*timesteps, -1]))
        self._earlier = {there: here for here, there in self._later.items()}
        self._estimates: list[Tensor] = []  # of x_0, the last one first
        self._corrected: Tensor | None = None  # x of the step before

    def step(self, x0: Tensor, t: int, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Take the step from a timestep on, in place of `x`.

        Args:
            x0: the estimate, of any shape; it is kept.
            t: one of `timesteps`; each is taken after the one before.
            x: as noisy as `t` says.
            generator: of the noise that `ddpm` adds.
        """
        if self._name == "ddpm":
            self._draw(x0, t, x, generator)
            return
        if self._name == "unipc":
            self._correct(x0, t, x)
            self._corrected = x.clone() if self._corrected is None else self._corrected.copy_(x)
        of_x, of_x0 = self._straight(t, self._later[t])
        ahead = self._ahead(t)
        x.mul_(of_x).add_(x0, alpha=of_x0 * (1 + ahead))
        if ahead:
            x.sub_(self._estimates[0], alpha=of_x0 * ahead)
        self._estimates = [x0, *self._estimates][: REMEMBERED[self._name]]

    def state(self) -> dict[str, Any]:
        """Return what is remembered from step to step."""
        return {"estimates": self._estimates, "corrected": self._corrected}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Take back what `state` gave, with the volume on a device."""
        self._estimates = [each.to(device) for each in state["estimates"]]
        self._corrected = None if state["corrected"] is None else state["corrected"].to(device)

    def _draw(self, x0: Tensor, t: int, x: Tensor, generator: torch.Generator | None) -> None:
        of_x0, of_x, of_noise = self._schedule.ancestral(t, self._later[t])
        x.mul_(of_x).add_(x0, alpha=of_x0)
        for slab in x.view(-1).split(SLAB_VOXELS) if of_noise else ():
            slab.add_(torch.randn(slab.shape, generator=generator).to(slab), alpha=of_noise)

    def _straight(self, t: int, next_t: int) -> tuple[float, float]:
        """Return the factors of x_t and x_0 in a step that keeps the noise."""
        (alpha, sigma), (next_alpha, next_sigma) = self._schedule.at(t), self._schedule.at(next_t)
        return next_sigma / sigma, next_alpha - alpha * next_sigma / sigma

    def _width(self, t: int, next_t: int) -> float:
        """Return by how much log(alpha / sigma) grows in a step."""
        (alpha, sigma), (next_alpha, next_sigma) = self._schedule.at(t), self._schedule.at(next_t)
        return math.log(next_alpha * sigma / (alpha * next_sigma))

    def _ahead(self, t: int) -> float:
        """Return by how much of its last change x_0 is thought to change until the middle of the step."""
        if not self._estimates or self._later[t] < 0:
            return 0.0
        return self._width(t, self._later[t]) / self._width(self._earlier[t], t) / 2

    def _correct(self, x0: Tensor, t: int, x: Tensor) -> None:
        """Take the step before once more, with the estimate of x_0 at its end."""
        if self._corrected is None:
            return
        before, *further = self._estimates
        start = self._earlier[t]
        of_x, of_x0 = self._straight(start, t)
        of_new, of_old = 0.5, 0.0
        if further:
            width = self._width(start, t)
            ratio = -self._width(self._earlier[start], start) / width
            first = -1 / width - 1 / math.expm1(-width)
            second = 2 * (1 / width**2 + (1 / width - 0.5) / math.expm1(-width))
            share = (first - second) / (1 - ratio)
            of_new, of_old = first - share, share / ratio
        x.copy_(self._corrected).mul_(of_x).add_(x0, alpha=of_x0 * of_new)
        x.add_(before, alpha=of_x0 * (1 - of_new - of_old))
        if further:
            x.add_(further[0], alpha=of_x0 * of_old)


def make_solver(name: str, steps: int, timesteps: int, spacing: str = "trailing", span: Span | None = None) -> Solver:
    """Return a solver on the cosine schedule.

    Args:
        name: one of `NAMES`.
        steps: of the solver.
        timesteps: T of the model.
        spacing: `trailing`, even in t, or `log-snr`, see `log_snr_timesteps`; that for dpm-solver++ alone.
        span: of the noise; `trailing` ends at the clean volume all the same.
    """
    if spacing == "log-snr":
        taken = log_snr_timesteps(steps, timesteps, span or WHOLE)
    else:
        taken = trailing_timesteps(steps, timesteps, span or WHOLE)
    return Solver(name, taken, Schedule(timesteps))


def trailing_timesteps(steps: int, timesteps: int, span: Span = WHOLE) -> list[int]:
    """Return timesteps that are even in t, from T - 1 on, where a volume of pure noise belongs (Lin et al. 2024).

    With less noise to begin with they are those from the nearest one on, as a few-step model knows no others.
    """
    even = [round(timesteps - step * timesteps / steps) - 1 for step in range(steps)]
    noise = Schedule(timesteps).noise_to_signal.clamp(max=MOST_NOISE)
    first = min(even, key=lambda t: abs(math.log(noise[t] / span.first)))
    return [t for t in even if t <= first]


def log_snr_timesteps(steps: int, timesteps: int, span: Span = WHOLE) -> list[int]:
    """Return timesteps that are even in log(alpha_t / sigma_t), from large to small (Lu et al. 2022, section 4.1).

    Even steps in t take the last one from where sigma / alpha is 0.17 (of 10 steps) to the clean image, which is then
    the mean of all that may be there: what is finer than that noise is missing from it. And the first one begins where
    x_0 is the error of the estimated noise times 20,291, and ends where that is a sixth of the volume.

    Choice: begins where sigma / alpha is `MOST_NOISE`, so that an error of 1 % of the noise is one of 0.2 in x_0. Noise
    alone stands for x_t there, of which a twentieth of the volume is missing.
    """
    ratios = Schedule(timesteps).noise_to_signal
    least, most = float(ratios[0]), float(ratios[-1])
    first, last = (math.log(min(max(noise, least), most)) for noise in span)
    nearest = (ratios.log() - torch.linspace(first, last, steps)[:, None]).abs().argmin(1)
    return nearest.unique().flip(0).tolist()
