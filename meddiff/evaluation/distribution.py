"""Distance of the synthetic scans' features from the real ones': FID and MMD."""

import numpy as np


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the Frechet distance (FID) of two sets of features, (n, C) each; nan with fewer than two of either.

    It is biased upwards for small n and comparable only at equal n; report n beside it.
    """
    from pytorch_fid.fid_score import calculate_frechet_distance

    if min(len(real), len(fake)) < 2:
        return float("nan")
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (real.astype(np.float64), fake.astype(np.float64))]
    return max(0.0, float(calculate_frechet_distance(*moments[0], *moments[1])))


def maximum_mean_discrepancy(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the squared MMD of two sets of features, (n, C) each; nan with fewer than two of either.

    Choice: the unbiased estimate with a Gaussian kernel, whose width is the median distance of all pairs; it can be
    slightly negative when the sets agree.
    """
    from scipy.spatial.distance import cdist

    n, m = len(real), len(fake)
    if min(n, m) < 2:
        return float("nan")
    distances = cdist(np.concatenate((real, fake)), np.concatenate((real, fake)))
    width = np.median(distances[np.triu_indices(n + m, 1)])
    kernel = np.exp(-(distances**2) / (2 * max(width, 1e-12) ** 2))
    within_real = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_fake = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return float(within_real + within_fake - 2 * kernel[:n, n:].mean())
