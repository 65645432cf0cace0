"""The solvers, by name, from diffusers; all of them are given x_0."""

import inspect
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from meddiff.config import DiffusionConfig, SamplingConfig
from meddiff.diffusion.schedule import Schedule

NAMES = ("ddpm", "ddim", "dpm-solver++", "unipc")
MOST_NOISE = 20.0  # sigma / alpha with which log-SNR spacing begins
SLAB_VOXELS = 2**22
# What diffusers' solvers remember from step to step.
MEMORY = ("model_outputs", "timestep_list", "last_sample", "lower_order_nums", "this_order", "_step_index")


class Span(NamedTuple):
    """Between which noise, sigma / alpha, log-SNR spacing takes its steps, as far as the schedule has it."""

    first: float
    last: float


WHOLE = Span(MOST_NOISE, 0.0)


class VolumeSolver:
    """A solver for a large volume.

    Its steps do not look at a voxel's neighbours, so each slab of the volume has a solver of its own and they take
    turns: what a step needs in between is then a few slabs, not many times the volume.

    Args:
        config: which solver, steps and spacing.
        diffusion: T of the model, and what it estimates.
        size_zyx: of the volume.
        span: of the noise, for log-SNR spacing.
    """

    def __init__(
        self, config: SamplingConfig, diffusion: DiffusionConfig, size_zyx: tuple[int, ...], span: Span | None = None
    ) -> None:
        self._height = max(1, SLAB_VOXELS // (size_zyx[1] * size_zyx[2]))
        slabs = range(0, size_zyx[0], self._height)
        solver, steps, spacing = config.recipe(diffusion.prediction)
        self._solvers = [make_solver(solver, steps, diffusion.timesteps, spacing, span) for _ in slabs]
        self._is_random = "generator" in inspect.signature(self._solvers[0].step).parameters
        self.timesteps: list[int] = self._solvers[0].timesteps.tolist()

    def step(self, x0_ZYX: Tensor, t: int, x_ZYX: Tensor, generator: torch.Generator) -> None:
        """Take one step, in place of `x_ZYX`."""
        extra = {"generator": generator} if self._is_random else {}
        for solver, x0, x in zip(self._solvers, x0_ZYX.split(self._height), x_ZYX.split(self._height), strict=True):
            # A copy, because UniPC keeps the slab for its next step.
            x.copy_(solver.step(x0, t, x.clone(), **extra).prev_sample)

    def state(self) -> list[dict[str, Any]]:
        """Return what the solvers remember."""
        return [{key: value for key, value in vars(solver).items() if key in MEMORY} for solver in self._solvers]

    def restore(self, state: list[dict[str, Any]], device: torch.device) -> None:
        """Take back what `state` gave, with the volume on a device."""
        for solver, remembered in zip(self._solvers, state, strict=True):
            vars(solver).update({key: _moved(value, device) for key, value in remembered.items()})


def _moved(value: Any, device: torch.device) -> Any:
    """Return a value of a solver's memory with the slabs in it on a device; its numbers stay where they are."""
    if isinstance(value, list):
        return [_moved(each, device) for each in value]
    return value.to(device) if isinstance(value, Tensor) and value.ndim else value


def make_solver(name: str, steps: int, timesteps: int, spacing: str = "trailing", span: Span | None = None) -> Any:
    """Return a diffusers scheduler on the cosine schedule with `timesteps` set.

    It expects an estimate of x_0 (`prediction_type="sample"`): conversion and clipping are ours, so they are the same
    for every solver and every kind of network.

    Args:
        name: one of `NAMES`.
        steps: of the solver.
        timesteps: T of the model.
        spacing: `trailing`, even in t from T - 1 on, where a volume of pure noise belongs, or `log-snr`, see
            `log_snr_timesteps`; that for dpm-solver++ alone.
        span: of the noise, for `log-snr`.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    common = {
        "num_train_timesteps": timesteps,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "sample",
        "timestep_spacing": "trailing",
    }
    makers = {
        "ddpm": lambda: DDPMScheduler(**common, clip_sample=False),
        "ddim": lambda: DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True),
        "dpm-solver++": lambda: DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++"),
        "unipc": lambda: UniPCMultistepScheduler(**common, predict_x0=True),
    }
    solver = makers[name]()
    if spacing == "log-snr":
        solver.set_timesteps(timesteps=log_snr_timesteps(steps, timesteps, span or WHOLE))
    else:
        solver.set_timesteps(steps)
    return solver


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
