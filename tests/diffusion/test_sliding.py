"""Whole-volume sampling with networks whose right answer is known."""

import pytest
import torch

from meddiff.config import NetworkConfig, SamplingConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, SlidingWindows, sample_volume
from meddiff.diffusion.solvers import NAMES
from meddiff.model.unet import UNet

SMALL = NetworkConfig(patch_vox=8, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)
PLAIN = SamplingConfig(steps=8, overlap=0.5, windows_per_batch=3, bfloat16=False)


class Oracle(torch.nn.Module):
    """Estimates the noise exactly for the volume whose voxels are half the label id's hundredth minus a half."""

    config = SMALL

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.schedule = Schedule(1000)

    def encode_condition(self, anatomy, _coordinates):
        return anatomy[:, None].float() / 200 - 0.5

    def forward(self, x, t, _region, truth):
        alpha, sigma = self.schedule.coefficients(t)
        return (x - alpha * truth) / sigma


def labels(size, seed=0):
    return torch.randint(1, 119, size, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def sampled(model, anatomy, config=PLAIN, prediction="epsilon", seed=0):
    windows = SlidingWindows(model, Schedule(1000), prediction, Condition(anatomy, 0), config)
    return sample_volume(windows, config, 1000, seed, "test")


@pytest.mark.parametrize("solver", NAMES)
@pytest.mark.parametrize("size", [(8, 8, 8), (13, 9, 20), (3, 30, 8)])
def test_every_solver_finds_the_volume_of_a_perfect_network(solver, size):
    anatomy = labels(size)
    volume = sampled(Oracle(), anatomy, PLAIN.model_copy(update={"solver": solver, "steps": 20}))
    assert volume.shape == size
    torch.testing.assert_close(volume, anatomy.float() / 200 - 0.5, atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = UNet(SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_the_seed_decides_and_the_batching_does_not(network):
    anatomy = labels((13, 9, 20))
    first = sampled(network, anatomy, prediction="v")
    torch.testing.assert_close(first, sampled(network, anatomy, prediction="v"), atol=0, rtol=0)
    one_by_one = PLAIN.model_copy(update={"windows_per_batch": 1})
    torch.testing.assert_close(first, sampled(network, anatomy, one_by_one, "v"), atol=1e-4, rtol=0)
    assert not torch.allclose(first, sampled(network, anatomy, prediction="v", seed=1), atol=1e-2)


def test_averaging_x0_is_averaging_the_noise(network):
    """Section 3.3 averages the estimated noise; at one x_t and t that is the same as averaging x_0."""
    anatomy, t = labels((8, 8, 12)), 600
    x = torch.randn(8, 8, 12, generator=torch.Generator().manual_seed(1)) * 0.1
    schedule = Schedule(1000)
    windows = SlidingWindows(network, schedule, "epsilon", Condition(anatomy, 0), PLAIN)
    x0 = windows.estimate_x0(x, t)
    t_B = torch.tensor([t])
    sums = torch.zeros(8, 8, 12)
    for corner in windows._corners:
        index = tuple(slice(c, c + 8) for c in corner)
        with torch.no_grad():
            noise = network(x[index][None, None], t_B, torch.tensor([0]), windows._encode([corner]))
        sums[index] += windows._weight * noise[0, 0]
    mean_noise = (sums / windows._total)[None, None]
    expected = schedule.to_x0("epsilon", mean_noise, x[None, None], t_B)[0, 0].clamp(-1, 1)
    torch.testing.assert_close(x0, expected, atol=1e-4, rtol=0)


def test_windows_outside_the_body_are_air_and_are_not_computed(network):
    anatomy = labels((8, 8, 40))
    anatomy[:, :, 12:] = 0
    windows = SlidingWindows(network, Schedule(1000), "v", Condition(anatomy, 0), PLAIN)
    assert len(windows._corners) == 3  # of nine
    assert (windows.estimate_x0(torch.randn(8, 8, 40), 500)[:, :, 16:] == -1).all()
