"""Denoising with a model that knows the truth: what must come out, and what must not change."""

import itertools

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from meddiff.config import DenoisingConfig, DiffusionConfig, MachineConfig, Region, WindowsConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import UserError
from meddiff.store.view import View
from meddiff.tasks.denoising import METHODS, denoise, restore
from meddiff.volumes.hu import denormalise
from tests.tasks.healthy import HealthySampler

WINDOW = WindowsConfig().abdomen
VALUES = np.linspace(-0.9, 0.9, 119)


@pytest.fixture
def scan():
    """Anatomy, the clean scan and one with noise of 0.15, all within the window."""
    rng = np.random.default_rng(0)
    anatomy = np.kron(rng.integers(20, 100, (4, 5, 6)), np.ones((5, 5, 5))).astype(np.uint8)
    clean = denormalise(VALUES[anatomy], WINDOW)
    noisy = np.clip(clean + rng.normal(0, 27, clean.shape), WINDOW.low_hu, WINDOW.high_hu).astype(np.int16)
    return anatomy, clean, noisy


def run(scan, method, sampler=None, noise_hu=27.0):
    config = DenoisingConfig(method=method)
    view = View(scan[2], scan[0], Region.ABDOMEN, WINDOW, 1.0)
    return denoise(sampler or HealthySampler(VALUES), view, config, noise_hu)


def rmse(a, b):
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_knows_the_truth_finds_it(scan, method):
    assert rmse(run(scan, method), scan[1]) < 1
    assert rmse(scan[2], scan[1]) > 20


class Shrinking:
    """In the place of windows: an estimate that is half of what the scan would be."""

    diffusion = DiffusionConfig()

    def estimate_x0(self, x, t, _step):
        return 0.5 * x / Schedule(1000).at(t)[0]

    def noise(self, generator):
        return torch.randn((3, 4, 5), generator=generator)


def test_diffpir_is_the_published_loop():
    """Zhu et al. 2023, Algorithm 1, written down again in float64; without fresh noise."""
    abar = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double().numpy()
    y = np.random.default_rng(0).normal(size=(3, 4, 5))
    config = DenoisingConfig(diffpir_steps=4, diffpir_lambda=7.0, diffpir_zeta=0.0)
    timesteps = [87, 58, 29, 0]  # sigma_t / alpha_t is 0.15 at 87
    x = np.sqrt(abar[87]) * y
    for t, following in itertools.pairwise(timesteps):
        x0 = 0.5 * x / np.sqrt(abar[t])
        rho = 7.0 * 0.15**2 / ((1 - abar[t]) / abar[t])
        x0 = (y + rho * x0) / (1 + rho)
        noise = (x - np.sqrt(abar[t]) * x0) / np.sqrt(1 - abar[t])
        x = np.sqrt(abar[following]) * x0 + np.sqrt(1 - abar[following]) * noise
    expected = 0.5 * x / np.sqrt(abar[0])
    found = restore(Shrinking(), torch.from_numpy(y).float(), config, 0.15, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_voxels_outside_of_the_window_keep_their_value(scan, method):
    anatomy, clean, noisy = scan
    outside = noisy.copy()
    outside[0], outside[-1] = -1000, 900
    result = run((anatomy, clean, outside), method)
    assert (result[0] == -1000).all()
    assert (result[-1] == 900).all()
    assert (result[1:-1] != noisy[1:-1]).any()


@pytest.mark.parametrize("method", METHODS)
def test_the_batching_of_windows_does_not_matter(scan, method):
    many = HealthySampler(VALUES, MachineConfig(windows_per_batch=8))
    one = HealthySampler(VALUES, MachineConfig(windows_per_batch=1))
    assert rmse(run(scan, method, many), run(scan, method, one)) == 0


def test_a_scan_smaller_than_a_window_keeps_its_size(scan):
    small = tuple(array[:7, :9, :30] for array in scan)
    assert run(small, "one-step").shape == (7, 9, 30)


@pytest.mark.parametrize("method", METHODS)
def test_tissue_that_the_noise_takes_out_of_the_window_is_denoised_too(scan, method):
    """Fat of -100 HU with noise of 27 HU lies below the window, -120 HU, in a fifth of its voxels."""
    anatomy = np.full_like(scan[0], 40)
    values = np.full(119, -160 / 180)
    clean = np.full(anatomy.shape, -100, np.int16)
    noisy = (clean + np.random.default_rng(0).normal(0, 27, clean.shape)).round().astype(np.int16)
    assert 0.15 < (noisy < WINDOW.low_hu).mean() < 0.3
    assert rmse(run((anatomy, clean, noisy), method, HealthySampler(values)), clean) < 3


def test_noise_that_no_timestep_has_is_refused(scan):
    with pytest.raises(
        UserError, match=r"noise of 0.0002 HU: in the abdomen this model knows noise of 0.58 to 3.7e\+06"
    ):
        run(scan, "one-step", noise_hu=2e-4)
