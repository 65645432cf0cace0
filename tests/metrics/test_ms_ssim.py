"""MS-SSIM against MONAI's and a plain definition, its range, and what it takes of memory."""

import numpy as np
import pytest
import torch
from monai.metrics.regression import MultiScaleSSIMMetric
from scipy import ndimage

from meddiff.metrics import ms_ssim as module
from meddiff.metrics.ms_ssim import ms_ssim
from meddiff.volumes.hu import normalise
from tests.conftest import make_record


def noisy_pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    a = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    a = np.clip(a / np.abs(a).max() * 1.2, -1, 1)
    b = np.clip(a + 0.1 * rng.normal(size=shape), -1, 1)
    return torch.from_numpy(a.astype(np.float32)), torch.from_numpy(b.astype(np.float32))


def plain(a, b, scales):
    """The formula of Wang et al. in float64 with a dense window: no slab, no separation, no shortcut."""
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    kernel = np.einsum("i,j,k->ijk", *3 * [taps / taps.sum()])
    inside = 3 * (slice(3, -3),)

    def mean(x):
        return ndimage.correlate(x, kernel)[inside]

    a, b = ((x.double().numpy() + 1) / 2 for x in (a, b))
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    score = 1.0
    for scale, weight in enumerate(weights / weights.sum()):
        mu_a, mu_b = mean(a), mean(b)
        var_a, var_b, cov = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2, mean(a * b) - mu_a * mu_b
        cs = (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2)
        luminance = (2 * mu_a * mu_b + 0.01**2) / (mu_a**2 + mu_b**2 + 0.01**2)
        score *= np.mean(cs * luminance if scale == scales - 1 else cs) ** weight
        half = [n // 2 for n in a.shape]
        a, b = (
            x[: 2 * half[0], : 2 * half[1], : 2 * half[2]].reshape(half[0], 2, half[1], 2, half[2], 2).mean((1, 3, 5))
            for x in (a, b)
        )
    return score


@pytest.mark.parametrize(("shape", "scales"), [((32, 40, 29), 1), ((29, 31, 45), 3), ((19, 60, 33), 2)])
def test_it_is_the_plain_formula(shape, scales):
    a, b = noisy_pair(shape)
    assert ms_ssim(a, b, scales) == pytest.approx(plain(a, b, scales), abs=2e-6)


def test_it_is_monais_on_0_to_1():
    a, b = noisy_pair((113, 112, 115))
    metric = MultiScaleSSIMMetric(spatial_dims=3, data_range=1.0, kernel_size=7)
    expected = float(torch.as_tensor(metric((a[None, None] + 1) / 2, (b[None, None] + 1) / 2)))
    assert ms_ssim(a, b, 5) == pytest.approx(expected, abs=3e-5)  # MONAI's own rounding: 1.6e-5 from the plain formula


@pytest.mark.parametrize("scales", [1, 2])
def test_a_scan_that_is_a_little_brighter_is_nearly_perfect(tmp_path, scales):
    """Values of either sign would make it worse than one with noise: soft tissue lies about 0 in [-1, 1]."""
    record = make_record(tmp_path / "body", 0)
    scan = torch.from_numpy(normalise(record.ct[:], record.meta.window))
    assert ms_ssim(scan, scan, scales) == pytest.approx(1)
    assert ms_ssim(scan, scan + 0.03, scales) > 0.99
    soft = 0.1 * scan  # all of it near 0, where an offset changes signs
    assert ms_ssim(soft, soft + 0.03, scales) > 0.99


def test_volumes_too_small_for_the_scales_have_none():
    a, b = noisy_pair((27, 28, 28))
    assert np.isnan(ms_ssim(a, b, 3))
    assert 0 < ms_ssim(a, b, 2) < 1
    assert not np.isnan(ms_ssim(*noisy_pair((28, 28, 28)), 3))
    with pytest.raises(ValueError, match="shapes differ"):
        ms_ssim(a, b[1:], 1)


def test_no_slab_is_larger_than_its_planes(monkeypatch):
    """So that the memory of a large scan is that of the scan, not of five filtered copies."""
    a, b = noisy_pair((70, 16, 16))
    seen = []
    smooth = module._smooth
    monkeypatch.setattr(module, "_smooth", lambda x: seen.append(len(x)) or smooth(x))
    ms_ssim(a, b, 1)
    assert max(seen) == module.SLAB + module.KERNEL_VOX - 1
    assert sum(n - module.KERNEL_VOX + 1 for n in seen) == 4 * (70 - module.KERNEL_VOX + 1)
