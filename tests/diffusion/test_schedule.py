"""The diffusion process against diffusers."""

import pytest
import torch
from diffusers import DDPMScheduler

from meddiff.diffusion.schedule import Schedule, cosine_alphas_cumprod


def test_the_cosine_schedule_is_that_of_diffusers():
    reference = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    ours = cosine_alphas_cumprod(1000)
    torch.testing.assert_close(ours, reference, atol=2e-6, rtol=0)
    assert (ours.diff() < 0).all()
    assert ours[0] > 0.9999
    assert ours[-1] < 1e-8


def test_noising_is_that_of_diffusers():
    x0, noise = torch.randn(3, 1, 4, 4, 4), torch.randn(3, 1, 4, 4, 4)
    t = torch.tensor([0, 500, 999])
    reference = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").add_noise(x0, noise, t)
    torch.testing.assert_close(Schedule(1000).add_noise(x0, noise, t), reference, atol=2e-5, rtol=0)


def test_v_is_that_of_diffusers():
    x0, noise = torch.randn(3, 1, 4, 4, 4), torch.randn(3, 1, 4, 4, 4)
    t = torch.tensor([0, 500, 999])
    reference = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").get_velocity(x0, noise, t)
    torch.testing.assert_close(Schedule(1000).target("v", x0, noise, t), reference, atol=2e-5, rtol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_a_perfect_estimate_gives_x0_back(prediction):
    schedule = Schedule(1000)
    x0, noise, t = torch.rand(2, 1, 4, 4, 4) * 2 - 1, torch.randn(2, 1, 4, 4, 4), torch.tensor([3, 900])
    x_t = schedule.add_noise(x0, noise, t)
    estimate = schedule.target(prediction, x0, noise, t)
    torch.testing.assert_close(schedule.to_x0(prediction, estimate, x_t, t), x0, atol=1e-4, rtol=0)
