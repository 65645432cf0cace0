"""Findings that a denoiser fades are given back."""

import numpy as np
import pytest

from meddiff.tasks.baselines import wiener
from meddiff.tasks.contrast import keep_contrast
from meddiff.tasks.noise_spectrum import NoiseSpectrum
from tests.tasks.noisy import BODY_HU, NOISE_HU, ball, body, correlated, rmse

LESIONS = [(2, 150.0), (3, 80.0), (5, 40.0), (8, -25.0)]


def contrast(hu_zyx, radius_vox):
    lesion, around = ball(hu_zyx.shape, radius_vox)
    return float(hu_zyx[lesion].mean() - hu_zyx[around].mean())


def planted(radius_vox, contrast_hu):
    clean = body((48, 64, 64), organs=False)
    return clean + contrast_hu * ball(clean.shape, radius_vox)[0] + correlated(clean.shape)


@pytest.mark.parametrize(("radius_vox", "contrast_hu"), LESIONS)
def test_a_lesion_keeps_its_contrast_where_the_filter_alone_fades_it(radius_vox, contrast_hu):
    """Noise of 25 HU, and lesions down to as much; before is the noisy scan."""
    noisy = planted(radius_vox, contrast_hu)
    noise = NoiseSpectrum.from_scan(noisy)
    faded = contrast(noise.wiener(noisy, noise.significant(noisy)), radius_vox) / contrast(noisy, radius_vox)
    kept = contrast(wiener(noisy), radius_vox) / contrast(noisy, radius_vox)
    assert faded < 0.85
    assert 0.95 < kept < 1.1


def test_flat_tissue_stays_smooth():
    noisy = planted(3, 80.0)
    assert wiener(noisy)[ball(noisy.shape, 3)[1]].std() < 0.45 * NOISE_HU


def test_a_scan_that_lost_nothing_stays_as_it_is():
    clean = body()
    assert rmse(keep_contrast(clean + correlated(clean.shape), clean), clean) < 0.25 * NOISE_HU
    np.testing.assert_allclose(keep_contrast(clean, clean), clean, atol=0.1)


def test_what_was_blurred_away_comes_back():
    clean = np.full((32, 48, 48), BODY_HU, np.float32)
    lesion, _ = ball(clean.shape, 4)
    clean[lesion] += 100
    blurred = BODY_HU + 0.7 * (clean - BODY_HU)
    assert contrast(keep_contrast(clean, blurred), 4) == pytest.approx(100, rel=0.05)
