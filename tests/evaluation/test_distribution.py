"""FID and MMD against closed forms."""

import numpy as np
import pytest

from meddiff.evaluation.distribution import frechet_distance, maximum_mean_discrepancy


def gaussian(n, mean, std, seed, channels=4):
    return np.random.default_rng(seed).normal(mean, std, (n, channels))


def test_fid_of_known_gaussians():
    a, b = gaussian(40_000, 0, 1, 0), gaussian(40_000, 1, 2, 1)
    assert frechet_distance(a, b) == pytest.approx(4 * (1**2 + (2 - 1) ** 2), rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_fid_is_finite_with_fewer_samples_than_channels():
    assert 0 < frechet_distance(gaussian(4, 0, 1, 0, 64), gaussian(4, 1, 1, 1, 64)) < 1e3


def test_mmd_is_zero_for_equal_and_positive_for_different_distributions():
    a, b, c = gaussian(400, 0, 1, 0), gaussian(400, 0, 1, 1), gaussian(400, 1, 1, 2)
    assert abs(maximum_mean_discrepancy(a, b)) < 0.01
    assert maximum_mean_discrepancy(a, c) > 0.1


def test_mmd_by_hand():
    real, fake = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    distances = [1, 0, 2, 1, 1, 2]  # of the six pairs; their median is 1
    width = np.median(distances)

    def k(d):
        return np.exp(-(d**2) / (2 * width**2))

    expected = k(1) + k(2) - 2 * (k(0) + k(2) + k(1) + k(1)) / 4
    assert maximum_mean_discrepancy(real, fake) == pytest.approx(expected)


def test_one_sample_has_no_distribution():
    one, two = gaussian(1, 0, 1, 0), gaussian(2, 0, 1, 0)
    assert np.isnan(frechet_distance(one, two))
    assert np.isnan(maximum_mean_discrepancy(two, one))
