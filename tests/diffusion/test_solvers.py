"""The solvers against those of diffusers."""

import inspect

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from meddiff.diffusion.solvers import log_snr_timesteps, make_solver

COMMON = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
}
PEERS = {
    "ddpm": lambda: DDPMScheduler(**COMMON, clip_sample=False),
    "ddim": lambda: DDIMScheduler(**COMMON, clip_sample=False, set_alpha_to_one=True),
    "dpm-solver++": lambda: DPMSolverMultistepScheduler(**COMMON, algorithm_type="dpmsolver++"),
    "unipc": lambda: UniPCMultistepScheduler(**COMMON, predict_x0=True),
}


def peer(name, steps):
    scheduler = PEERS[name]()
    scheduler.set_timesteps(steps)
    return scheduler


def walks(own, other):
    """Return the volumes after each step of a solver and of a scheduler, with noise of the same draws."""
    x = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0))
    y, noise, same_noise = x.clone(), torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    extra = {"generator": same_noise} if "generator" in inspect.signature(other.step).parameters else {}
    found, expected = [], []
    for t in own.timesteps:
        own.step(torch.tanh(2 * x), t, x, noise)
        y = other.step(torch.tanh(2 * y), t, y, **extra).prev_sample
        found.append(x.clone())
        expected.append(y)
    return torch.stack(found), torch.stack(expected)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 14, 15, 50])
@pytest.mark.parametrize("name", PEERS)
def test_the_steps_are_those_of_diffusers(name, steps):
    """But that its DDIM knows steps of one length only, and so has no 3, 14 or 15 of 1,000."""
    own, other = make_solver(name, steps, 1000), peer(name, steps)
    assert own.timesteps == other.timesteps.tolist()
    if name != "ddim" or 1000 % steps == 0:
        torch.testing.assert_close(*walks(own, other), atol=1e-4, rtol=0)


def test_the_steps_even_in_log_snr_are_those_of_diffusers():
    other = PEERS["dpm-solver++"]()
    other.set_timesteps(timesteps=log_snr_timesteps(10, 1000))
    torch.testing.assert_close(*walks(make_solver("dpm-solver++", 10, 1000, "log-snr"), other), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PEERS)
def test_a_perfect_estimate_leads_to_the_volume(name):
    truth = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(2)) * 2 - 1
    solver, generator = make_solver(name, 7, 1000), torch.Generator().manual_seed(3)
    x = torch.randn(truth.shape, generator=generator)
    for t in solver.timesteps:
        solver.step(truth.clone(), t, x, generator)
    torch.testing.assert_close(x, truth, atol=1e-5, rtol=0)


def test_noise_drawn_in_slabs_is_that_of_the_whole(monkeypatch):
    drawn = []
    for slab_voxels in (2**22, 16):
        monkeypatch.setattr("meddiff.diffusion.solvers.SLAB_VOXELS", slab_voxels)
        x = torch.zeros(4, 8, 8)
        make_solver("ddpm", 5, 1000).step(torch.zeros_like(x), 999, x, torch.Generator().manual_seed(0))
        drawn.append(x)
    torch.testing.assert_close(*drawn, atol=0, rtol=0)
    assert drawn[0].std() > 0.5
