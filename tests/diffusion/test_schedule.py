"""The diffusion process against diffusers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from meddiff.diffusion.schedule import Schedule, cosine_alphas_cumprod

COSINE = {"beta_schedule": "squaredcos_cap_v2"}
SCHEDULE = Schedule(1000)
BETAS = DDPMScheduler(1000, **COSINE).betas.double().numpy()
TWO_TIMESTEPS = st.tuples(st.integers(-1, 999), st.integers(-1, 999)).filter(lambda pair: pair[0] < pair[1])


def test_the_cosine_schedule_is_that_of_diffusers():
    reference = DDPMScheduler(1000, **COSINE).alphas_cumprod.double()
    ours = cosine_alphas_cumprod(1000)
    torch.testing.assert_close(ours, reference, atol=2e-6, rtol=0)
    assert (ours.diff() < 0).all()
    assert ours[0] > 0.9999
    assert ours[-1] < 1e-8


def test_noising_is_that_of_diffusers():
    x0, noise = torch.randn(3, 1, 4, 4, 4), torch.randn(3, 1, 4, 4, 4)
    t = torch.tensor([0, 500, 999])
    reference = DDPMScheduler(1000, **COSINE).add_noise(x0, noise, t)
    torch.testing.assert_close(Schedule(1000).add_noise(x0, noise, t), reference, atol=2e-5, rtol=0)


def test_v_is_that_of_diffusers():
    x0, noise = torch.randn(3, 1, 4, 4, 4), torch.randn(3, 1, 4, 4, 4)
    t = torch.tensor([0, 500, 999])
    reference = DDPMScheduler(1000, **COSINE).get_velocity(x0, noise, t)
    torch.testing.assert_close(Schedule(1000).target("v", x0, noise, t), reference, atol=2e-5, rtol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_a_perfect_estimate_gives_x0_back(prediction):
    schedule = Schedule(1000)
    x0, noise, t = torch.rand(2, 1, 4, 4, 4) * 2 - 1, torch.randn(2, 1, 4, 4, 4), torch.tensor([3, 900])
    x_t = schedule.add_noise(x0, noise, t)
    estimate = schedule.target(prediction, x0, noise, t)
    torch.testing.assert_close(schedule.to_x0(prediction, estimate, x_t, t), x0, atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [1000, 50])
def test_the_ancestral_step_is_that_of_diffusers(steps):
    solver = DDPMScheduler(1000, **COSINE, prediction_type="sample", clip_sample=False, timestep_spacing="trailing")
    solver.set_timesteps(steps)
    for t in [*solver.timesteps[::7].tolist(), *solver.timesteps[-3:].tolist()]:
        of_x0, of_x, of_noise = SCHEDULE.ancestral(t, int(solver.previous_timestep(t)))
        (alpha, sigma), generator = SCHEDULE.at(t), torch.Generator().manual_seed(t + 1000)
        x0 = torch.rand(4, 5, 6, generator=generator) * 2 - 1
        x = alpha * x0 + sigma * torch.randn(4, 5, 6, generator=generator)
        expected = solver.step(x0, t, x, generator=torch.Generator().manual_seed(t)).prev_sample
        noise = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(t))
        torch.testing.assert_close(of_x0 * x0 + of_x * x + of_noise * noise, expected, atol=1e-4, rtol=0)
        assert of_noise**2 == pytest.approx(float(solver._get_variance(t)), rel=2e-3, abs=1e-7)


@pytest.mark.parametrize("t", [1, 10, 300, 700, 990, 999])
def test_the_ancestral_step_by_one_is_the_published_posterior(t):
    """Ho et al. 2020, Eq. 7, in float64."""
    beta = BETAS[t]
    abar, abar_before = np.prod(1 - BETAS[: t + 1]), np.prod(1 - BETAS[:t])
    expected = (
        math.sqrt(abar_before) * beta / (1 - abar),
        math.sqrt(1 - beta) * (1 - abar_before) / (1 - abar),
        math.sqrt((1 - abar_before) / (1 - abar) * beta),
    )
    assert SCHEDULE.ancestral(t, t - 1) == pytest.approx(expected, rel=2e-3)


@given(TWO_TIMESTEPS)
def test_the_ancestral_step_keeps_the_marginal(pair):
    """If x_t = a x_0 + s noise, what comes out has mean a' x_0 and variance s'^2, to any earlier timestep."""
    next_t, t = pair
    (alpha, sigma), (next_alpha, next_sigma) = SCHEDULE.at(t), SCHEDULE.at(next_t)
    of_x0, of_x, of_noise = SCHEDULE.ancestral(t, next_t)
    assert of_x0 + of_x * alpha == pytest.approx(next_alpha, abs=1e-6)
    assert (of_x * sigma) ** 2 + of_noise**2 == pytest.approx(next_sigma**2, abs=1e-6)
