"""FID and MMD against closed forms."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from meddiff.metrics.distribution import distances, frechet_distance, maximum_mean_discrepancy, split_half


def gaussian(n, mean, std, seed, channels=4):
    return np.random.default_rng(seed).normal(mean, std, (n, channels))


def test_fid_of_known_gaussians():
    a, b = gaussian(40_000, 0, 1, 0), gaussian(40_000, 1, 2, 1)
    assert frechet_distance(a, b) == pytest.approx(4 * (1**2 + (2 - 1) ** 2), rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("samples", [(50, 40), (5, 9), (40, 3)])
def test_fid_is_the_formula_with_a_root_of_a_matrix(samples):
    a, b = (gaussian(n, i, 1 + i, i, 8) @ np.diag(np.arange(1, 9)) for i, n in enumerate(samples))
    (mean_a, cov_a), (mean_b, cov_b) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    root = sqrtm(cov_a.astype(complex) @ cov_b)
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


def test_the_floor_is_what_two_draws_of_one_distribution_get_and_no_model_beats_it():
    real = gaussian(200, 0, 1, 0, 8).reshape(50, 4, 8)
    floor = split_half(real)
    again, wrong = gaussian(200, 0, 1, 1, 8).reshape(50, 4, 8), gaussian(200, 0.5, 1, 1, 8).reshape(50, 4, 8)
    halves = [distances(real[:25], x[:25]) for x in (again, wrong)]
    assert floor["fid"] == pytest.approx(halves[0]["fid"], rel=0.5)
    assert abs(floor["mmd"]) < 0.01
    assert halves[1]["fid"] > 2 * floor["fid"]
    assert halves[1]["mmd"] > floor["mmd"] + 0.05
    assert distances(real, again)["fid"] < floor["fid"]  # with twice the samples
    assert floor == split_half(real)


def test_the_tiles_of_a_scan_stay_in_one_half():
    """Tiles that lie near each other would make the halves look alike."""
    real = np.repeat(gaussian(6, 0, 1, 0, 8)[:, None], 4, axis=1)
    scans, tiles = split_half(real), split_half(real.reshape(24, 1, 8))
    assert scans["fid"] > 2 * tiles["fid"]
    assert np.isnan(list(split_half(real[:3]).values())).all()


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
