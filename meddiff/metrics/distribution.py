"""Distance of the synthetic scans' features from the real ones': FID and MMD."""

from itertools import starmap

import numpy as np

SPLITS = 20  # halvings of the real set whose mean is the floor


def distances(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Return FID and MMD of two sets of scans, (scans, tiles, C) each; every tile is a sample."""
    real, fake = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (real, fake))
    return {"fid": frechet_distance(real, fake), "mmd": maximum_mean_discrepancy(real, fake)}


def split_half(real: np.ndarray) -> dict[str, float]:
    """Return FID and MMD between two random halves of the real scans, (scans, tiles, C): what no model can beat.

    FID depends on the number of samples, and more so with fewer: with all n scans a perfect model would come to a
    little less than these halves of n / 2. Tiles of a scan stay together. nan with fewer than four scans.
    Choice: the mean over 20 seeded halvings; with an odd number one scan is left out.
    """
    half = len(real) // 2
    if half < 2:
        return {"fid": float("nan"), "mmd": float("nan")}
    rng = np.random.default_rng(0)
    orders = (rng.permutation(len(real)) for _ in range(SPLITS))
    found = list(starmap(distances, ((real[order[:half]], real[order[half : 2 * half]]) for order in orders)))
    return {name: float(np.mean([one[name] for one in found])) for name in ("fid", "mmd")}


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the Frechet distance (FID) of two sets of features, (n, C) each; nan with fewer than two of either.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), Heusel et al. 2017, by pytorch-fid. It is biased upwards for
    small n and comparable only at equal n.
    """
    from pytorch_fid.fid_score import calculate_frechet_distance

    if min(len(real), len(fake)) < 2:
        return float("nan")
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in _in_their_span(real, fake)]
    return max(0.0, float(calculate_frechet_distance(*moments[0], *moments[1])))


def maximum_mean_discrepancy(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the squared MMD of two sets of features, (n, C) each; nan with fewer than two of either.

    Choice: the unbiased estimate of Gretton et al. 2012, which is of the square and has no root, since it can be
    slightly negative when the sets agree.
    Choice: a Gaussian kernel, as HA-GAN, whose width is the median distance of all pairs.
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


def _in_their_span(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both sets in coordinates of the space that they span, where no distance changes.

    It has as many dimensions as there are samples, while the root of a matrix of 2,048 channels takes many seconds.
    """
    both = np.concatenate((real, fake)).astype(np.float64)
    centred = both - both.mean(0)
    if len(both) < both.shape[1]:
        centred = centred @ np.linalg.qr(centred.T)[0]
    return centred[: len(real)], centred[len(real) :]
