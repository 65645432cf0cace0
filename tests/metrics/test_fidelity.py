"""PSNR and SSIM of axial slices against the formulas written out."""

import numpy as np
import pytest
from scipy import ndimage

from meddiff.metrics.fidelity import fidelity


@pytest.fixture(scope="module")
def pair():
    """A noisy and a clean volume whose slices differ in noise; values lie inside and outside of the window."""
    rng = np.random.default_rng(0)
    clean = (40 + 400 * ndimage.gaussian_filter(rng.standard_normal((3, 32, 40)), 1.5)).astype(np.int16)
    noise = rng.standard_normal(clean.shape) * np.array([10, 30, 90])[:, None, None]
    return (clean + noise).astype(np.int16), clean


def scaled(hu_yx):
    return (np.clip(hu_yx.astype(float), -160, 240) + 160) / 400


def ssim(a, b, data_range):
    """Wang et al. 2004 with a flat 7x7 window and unbiased variances; the border is left out."""
    size, n = 7, 49
    means = [ndimage.uniform_filter(x, size) for x in (a, b, a * a, b * b, a * b)]
    mean_a, mean_b = means[0], means[1]
    variance_a, variance_b = (n / (n - 1) * (means[i] - means[i - 2] ** 2) for i in (2, 3))
    covariance = n / (n - 1) * (means[4] - mean_a * mean_b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    structure = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (structure / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)))[3:-3, 3:-3].mean()


def test_psnr_is_the_mean_over_slices_of_the_published_formula(pair):
    slices = [(scaled(a), scaled(b)) for a, b in zip(*pair, strict=True)]
    expected = [20 * np.log10(255) - 10 * np.log10(np.mean(((b - a) * 255) ** 2)) for a, b in slices]
    assert expected[0] > expected[1] > expected[2]
    assert fidelity(*pair)["psnr"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("name", "data_range"), [("ssim", 2), ("ssim_range1", 1)])
def test_ssim_is_the_mean_over_slices_of_its_formula(pair, name, data_range):
    expected = np.mean([ssim(scaled(a), scaled(b), data_range) for a, b in zip(*pair, strict=True)])
    assert fidelity(*pair)[name] == pytest.approx(expected, abs=1e-9)


def test_the_papers_data_range_flatters(pair):
    scores = fidelity(*pair)
    assert scores["ssim_range1"] + 0.02 < scores["ssim"] < 1


def test_what_lies_outside_of_the_window_does_not_count(pair):
    noisy, clean = (np.clip(hu, -160, 240) for hu in pair)
    assert fidelity(noisy, clean) == fidelity(*pair)


def test_identical_images():
    clean = np.random.default_rng(0).integers(-160, 240, (2, 8, 8)).astype(np.int16)
    scores = fidelity(clean, clean)
    assert scores == {"psnr": np.inf, "ssim": pytest.approx(1), "ssim_range1": pytest.approx(1)}


def test_slices_of_air_leave_psnr_finite(pair):
    padded = [np.concatenate([hu, np.full((1, 32, 40), -1000, np.int16)]) for hu in pair]
    assert fidelity(*padded)["psnr"] == pytest.approx(fidelity(*pair)["psnr"])
    assert fidelity(*padded)["ssim"] == pytest.approx((3 * fidelity(*pair)["ssim"] + 1) / 4)


def test_slices_below_the_window_of_ssim_have_none():
    clean = np.zeros((2, 6, 20), np.int16)
    scores = fidelity(clean + 40, clean)
    assert scores["psnr"] == pytest.approx(20)  # a tenth of the window
    assert np.isnan(scores["ssim"])
    assert np.isnan(scores["ssim_range1"])


@pytest.mark.parametrize("shapes", [((2, 8, 8), (2, 8, 9)), ((8, 8), (8, 8)), ((0, 8, 8), (0, 8, 8))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match="one grid"):
        fidelity(*(np.zeros(shape) for shape in shapes))
