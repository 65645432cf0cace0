"""The noise that is measured in a scan, and what the filters that know it leave."""

import numpy as np
import pytest
from scipy import ndimage

from meddiff.errors import CaseError
from meddiff.tasks.noise_spectrum import NoiseSpectrum
from tests.tasks.noisy import BODY_HU, NOISE_HU, body, correlated, rmse


@pytest.mark.parametrize("blur_yx", [0.0, 0.7, 1.2])
def test_the_noise_of_a_scan_is_found_whatever_its_texture(blur_yx):
    """A little low, as edges and vessels must not count: the level is a low quantile of the neighbourhood."""
    clean = body()
    noisy = clean + correlated(clean.shape, blur_yx)
    assert NoiseSpectrum.from_scan(noisy).std_hu == pytest.approx(0.9 * NOISE_HU, rel=0.15)


def test_noise_that_differs_from_place_to_place_is_taken_away_by_its_own_strength():
    clean = body((32, 64, 128))
    strength = np.where(np.arange(128) < 64, 0.5, 1.5)
    noisy = clean + strength * correlated(clean.shape)
    noise = NoiseSpectrum.from_scan(noisy)
    level = noise.level_ZYX.sqrt()
    assert float(level[:, :, 26].mean() / level[:, :, 6].mean()) == pytest.approx(3, rel=0.15)
    result = noise.wiener(noisy, noise.significant(noisy))
    for half in (np.s_[..., 8:48], np.s_[..., 80:120]):
        assert rmse(result[half], clean[half]) < 0.6 * rmse(noisy[half], clean[half])


@pytest.mark.parametrize("blur_yx", [0.0, 0.7, 1.2])
def test_correlated_noise_goes_and_edges_stay(blur_yx):
    """A Gaussian of any width leaves more error: the noise is strong where the scan's edges are."""
    clean = body()
    noisy = clean + correlated(clean.shape, blur_yx)
    noise = NoiseSpectrum.from_scan(noisy)
    result = noise.wiener(noisy, noise.significant(noisy))
    smoothed = min(rmse(ndimage.gaussian_filter(noisy, width), clean) for width in (0.4, 0.6, 0.8, 1.0, 1.5))
    assert rmse(result, clean) < 0.5 * rmse(noisy, clean)
    assert rmse(result, clean) < 0.9 * smoothed


def test_a_scan_without_noise_stays_as_it_is():
    clean = body().round()
    noise = NoiseSpectrum.from_scan(clean)
    assert noise.std_hu < 0.1
    assert rmse(noise.wiener(clean, noise.significant(clean)), clean) < 0.1


def test_noise_may_be_told_and_keeps_its_texture():
    clean = body()
    noise = NoiseSpectrum.from_scan(clean + correlated(clean.shape))
    told = noise.with_std(2 * noise.std_hu)
    assert float((told.level_ZYX / noise.level_ZYX).mean()) == pytest.approx(4)
    with pytest.raises(CaseError, match="no noise was found"):
        NoiseSpectrum.from_scan(np.full((32, 32, 32), BODY_HU, np.float32)).with_std(5.0)


def test_without_soft_tissue_nothing_is_measured():
    with pytest.raises(CaseError, match="too little soft tissue"):
        NoiseSpectrum.from_scan(np.full((32, 32, 32), -850, np.int16))
