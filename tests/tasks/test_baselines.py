"""Classical denoisers: nearer to the clean scan than the noisy one is."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from meddiff.demo.phantom import make_phantom
from meddiff.tasks.baselines import BASELINES, STRENGTHS, best_strength, gaussian
from meddiff.tasks.low_dose import simulate_low_dose

NOISE_HU = 40.0
SIGMAS = STRENGTHS["gaussian"]
ARGUMENTS = {
    "median": (),
    "gaussian": (0.7,),
    "bilateral": (NOISE_HU,),
    "nlm": (1.3,),
    "bm3d": (NOISE_HU,),
    "wiener": (),
}


def noisy_and_clean(slices):
    """An abdomen whose slices are not square; its texture, fine as noise, is removed."""
    clean = ndimage.median_filter(make_phantom(3, 2.0, "abdomen").ct_zyx[80 : 80 + slices, 20:130, 30:180], (3, 7, 7))
    return simulate_low_dose(clean, 2.0, 0.25, photons=4e4, electronic_noise=10, seed=0), clean


@pytest.fixture(scope="module")
def pair():
    return noisy_and_clean(3)


def error(hu, clean):
    return float(np.square(np.clip(hu.astype(float), -160, 240) - np.clip(clean, -160, 240)).mean())


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_lowers_the_error(pair, name):
    noisy, clean = pair
    before = noisy.copy()
    denoised = BASELINES[name](noisy, *ARGUMENTS[name])
    assert (denoised.shape, denoised.dtype) == (noisy.shape, np.int16)
    assert error(denoised, clean) < 0.7 * error(noisy, clean)
    np.testing.assert_array_equal(noisy, before)


@pytest.mark.parametrize("name", BASELINES)
def test_a_constant_scan_stays_as_it_is(name):
    hu = np.full((3, 12, 16), 40, np.int16)
    np.testing.assert_array_equal(BASELINES[name](hu, *ARGUMENTS[name]), hu)


@pytest.mark.parametrize("name", ["bilateral", "nlm", "bm3d"])
def test_slices_at_the_same_time_give_the_same_scan(pair, name):
    one_by_one = BASELINES[name](pair[0], *ARGUMENTS[name])
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        np.testing.assert_array_equal(BASELINES[name](pair[0], *ARGUMENTS[name]), one_by_one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["bilateral", "bm3d"])
def test_edges_far_above_the_noise_stay(pair, name):
    hu = np.full((1, 24, 32), -1000, np.int16)
    hu[:, :, 16:] = 1000
    np.testing.assert_allclose(BASELINES[name](hu, NOISE_HU), hu, atol=NOISE_HU / 2)


def test_non_local_means_know_the_noise_of_each_scan():
    noisy, clean = pair = noisy_and_clean(8)  # as many as a block of the noise's spectrum
    half = np.round(clean + (noisy - clean.astype(np.float32)) / 2).astype(np.int16)
    strengths = STRENGTHS["nlm"][::2]
    best = best_strength(BASELINES["nlm"], strengths, [pair])
    errors = [error(BASELINES["nlm"](half, strength), clean) for strength in strengths]
    assert errors[strengths.index(best)] < 1.1 * min(errors)


def test_the_best_sigma_is_the_one_that_undoes_the_noise(pair):
    noisy, clean = pair
    best = best_strength(gaussian, SIGMAS, [pair, pair])
    errors = [error(gaussian(noisy, sigma), clean) for sigma in SIGMAS]
    assert best == SIGMAS[int(np.argmin(errors))]
    assert best_strength(gaussian, SIGMAS, [(clean, clean)]) == SIGMAS[0]
