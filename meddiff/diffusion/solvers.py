"""The solvers, by name, from diffusers; all of them are given x_0."""

from typing import Any

NAMES = ("ddpm", "ddim", "dpm-solver++", "unipc")


def make_solver(name: str, steps: int, timesteps: int) -> Any:
    """Return a diffusers scheduler on the cosine schedule with `timesteps` set.

    It expects an estimate of x_0 (`prediction_type="sample"`): conversion and clipping are ours, so they are the same
    for every solver and every kind of network. Choice: trailing spacing, which begins at T - 1, where a volume of
    pure noise belongs.
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
    solver.set_timesteps(steps)
    return solver
