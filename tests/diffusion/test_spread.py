"""What is drawn has the spread of the data, for data whose best estimate is known in closed form.

A Gaussian field with a known mean and spectrum: x_0 given x_t is Wiener's filter. The network of a test gives that
estimate as noise, v or x_0, with an error as a trained one has.
"""

import math

import pytest
import torch

from meddiff.config import DiffusionConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.sampling import sample_volume
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, SlidingWindows
from meddiff.diffusion.solvers import MOST_NOISE, log_snr_timesteps

SIDE = 24
CONFIG = NetworkConfig(patch_vox=SIDE, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)
FREQUENCY2 = sum(f**2 for f in torch.meshgrid(*[torch.fft.fftfreq(SIDE) * SIDE] * 3, indexing="ij"))
COARSE = FREQUENCY2 < 16
SPREAD, ERROR = 0.25, 0.01


def spectrum():
    """Variance of each wave, falling with the frequency; together the square of the spread."""
    power = 1 / (1 + FREQUENCY2 / 8) ** 1.5
    return power / power.mean() * SPREAD**2


POWER = spectrum()
MEAN = 0.2 + 0.2 * torch.sin(torch.arange(SIDE) / SIDE * 2 * math.pi)[:, None, None].expand(SIDE, SIDE, SIDE)


def smooth(noise):
    """Return noise of long waves with a spread of 1."""
    waves = torch.fft.ifftn(torch.fft.fftn(noise) * torch.exp(-FREQUENCY2 / 8)).real
    return waves / waves.std()


WHITE = torch.randn(SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
ERRORS = {"none": 0 * WHITE, "white": ERROR * WHITE, "smooth": ERROR * smooth(WHITE), "offset": ERROR + 0 * WHITE}


class Field(torch.nn.Module):
    """The best estimate of a Gaussian field, as noise, v or x_0, and an error."""

    config = CONFIG

    def __init__(self, prediction, error):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.prediction, self.error, self.schedule = prediction, error, Schedule(1000)

    def encode_condition(self, anatomy, _coordinates, _target):
        return anatomy

    def forward(self, x, t, _region, _condition):
        alpha, sigma = self.schedule.coefficients(t)
        gain = alpha * POWER / (alpha**2 * POWER + sigma**2)
        x0 = MEAN + torch.fft.ifftn(gain * torch.fft.fftn(x - alpha * MEAN, dim=(2, 3, 4)), dim=(2, 3, 4)).real
        return self.schedule.target(self.prediction, x0, self.schedule.noise(x0, x, t), t) + self.error


def drawn(prediction, error="none", **sampling):
    """Return the spread of a sample's coarse and fine waves relative to the data's, and how far off its mean is."""
    config = SamplingConfig(bfloat16=False, **sampling)
    anatomy = torch.ones(SIDE, SIDE, SIDE, dtype=torch.uint8)
    network = Field(prediction, ERRORS[error])
    windows = SlidingWindows([network], DiffusionConfig(prediction=prediction), Condition(anatomy, 0), config)
    rest = sample_volume(windows, 0) - MEAN
    power = torch.fft.fftn(rest).abs() ** 2 / SIDE**3
    inner = COARSE & (FREQUENCY2 > 0)  # the mean of a volume is one draw, and says nothing of the spread
    ratios = [math.sqrt(float(power[band].mean() / POWER[band].mean())) for band in (inner, ~COARSE)]
    return (*ratios, float(rest.mean()) / SPREAD)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_the_default_recipe_of_every_model_draws_the_spread_of_the_data(prediction, error):
    coarse, fine, offset = drawn(prediction, error)
    assert coarse == pytest.approx(1, abs=0.22)  # 250 waves, each voxel is clipped, and a smooth error is one of them
    assert fine == pytest.approx(1, abs=0.07)
    assert abs(offset) < 0.5


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("steps", [10, 20])
def test_few_steps_do_for_an_estimate_of_the_noise_with_an_error(error, steps):
    coarse, fine, offset = drawn("epsilon", error, solver="dpm-solver++", steps=steps)
    assert coarse == pytest.approx(1, abs=0.15)
    assert fine == pytest.approx(1, abs=0.05)
    assert abs(offset) < 0.5


def test_steps_that_are_even_in_t_show_what_the_others_are_for():
    """They leave out what is finer than the noise of the last one, and enlarge an error of the noise in the first."""
    even = {"solver": "dpm-solver++", "steps": 10, "spacing": "trailing"}
    assert drawn("v", **even)[1] < 0.9
    assert drawn("epsilon", "smooth", **even)[0] > 1.4
    assert abs(drawn("epsilon", "offset", **even)[2]) > 1


class Few(torch.nn.Module):
    """The best estimate of data that are one of a few volumes."""

    config = CONFIG.model_copy(update={"patch_vox": 8})
    volumes = 0.3 * torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(3))

    def __init__(self, prediction):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.prediction, self.schedule = prediction, Schedule(1000)

    def encode_condition(self, anatomy, _coordinates, _target):
        return anatomy

    def forward(self, x, t, _region, _condition):
        alpha, sigma = self.schedule.coefficients(t)
        distances = ((x - alpha * self.volumes) ** 2).sum((2, 3, 4)) / (2 * sigma[:, 0, 0, 0] ** 2)
        x0 = torch.einsum("bk,kzyx->bzyx", (-distances).softmax(1), self.volumes)[:, None]
        estimate = self.schedule.target(self.prediction, x0, self.schedule.noise(x0, x, t), t)
        return estimate + ERROR * torch.sin(torch.arange(8.0))  # bands


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_of_a_few_volumes_each_is_drawn_and_no_other(prediction):
    found = set()
    for seed in range(10):
        condition = Condition(torch.ones(8, 8, 8, dtype=torch.uint8), 0)
        config = SamplingConfig(bfloat16=False)
        windows = SlidingWindows([Few(prediction)], DiffusionConfig(prediction=prediction), condition, config)
        errors = (sample_volume(windows, seed) - Few.volumes).square().mean((1, 2, 3)).sqrt()
        assert errors.min() < 0.03
        found.add(int(errors.argmin()))
    assert found == {0, 1, 2}


@pytest.mark.parametrize("timesteps", [50, 1000])
@pytest.mark.parametrize("steps", [5, 10, 25])
def test_log_snr_timesteps_are_even_in_the_log_of_noise_over_signal(steps, timesteps):
    found = log_snr_timesteps(steps, timesteps)
    ratios = Schedule(timesteps).noise_to_signal
    assert found == sorted(set(found), reverse=True)
    assert len(found) <= steps
    assert float(ratios[found[0]]) == pytest.approx(MOST_NOISE, rel=0.3)
    assert found[-1] == 0
    expected = torch.logspace(math.log10(ratios[found[0]]), math.log10(ratios[0]), steps)
    for ratio in expected:  # within half a step of t, which is a factor of up to 2 near t = 0 and T
        assert min(abs(math.log(ratios[t] / ratio)) for t in found) < 0.6
