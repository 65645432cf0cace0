"""The solvers, by name, from diffusers; all of them are given x_0."""

import inspect
from typing import Any

import torch
from torch import Tensor

from meddiff.config import SamplingConfig

NAMES = ("ddpm", "ddim", "dpm-solver++", "unipc")
SLAB_VOXELS = 2**22
# What diffusers' solvers remember from step to step.
MEMORY = ("model_outputs", "timestep_list", "last_sample", "lower_order_nums", "this_order", "_step_index")


class VolumeSolver:
    """A solver for a large volume.

    Its steps do not look at a voxel's neighbours, so each slab of the volume has a solver of its own and they take
    turns: what a step needs in between is then a few slabs, not many times the volume.

    Args:
        config: which solver, steps and spacing.
        timesteps: T of the model.
        size_zyx: of the volume.
    """

    def __init__(self, config: SamplingConfig, timesteps: int, size_zyx: tuple[int, ...]) -> None:
        self._height = max(1, SLAB_VOXELS // (size_zyx[1] * size_zyx[2]))
        slabs = range(0, size_zyx[0], self._height)
        self._solvers = [make_solver(config.solver, config.steps, timesteps, config.spacing) for _ in slabs]
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

    def restore(self, state: list[dict[str, Any]]) -> None:
        for solver, remembered in zip(self._solvers, state, strict=True):
            vars(solver).update(remembered)


def make_solver(name: str, steps: int, timesteps: int, spacing: str = "trailing") -> Any:
    """Return a diffusers scheduler on the cosine schedule with `timesteps` set.

    It expects an estimate of x_0 (`prediction_type="sample"`): conversion and clipping are ours, so they are the same
    for every solver and every kind of network. Choice: trailing spacing, which begins at T - 1, where a volume of
    pure noise belongs; leading begins below it.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    common = {
        "num_train_timesteps": timesteps,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "sample",
        "timestep_spacing": spacing,
    }
    makers = {
        "ddpm": lambda: DDPMScheduler(**common, clip_sample=False),
        "ddim": lambda: DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True),
        "dpm-solver++": lambda: DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++"),
        "unipc": lambda: UniPCMultistepScheduler(**common, predict_x0=True),
    }
    solver = makers[name]()
    solver.set_timesteps(steps)
    return solver
