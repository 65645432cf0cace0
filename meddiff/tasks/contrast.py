"""Contrast that a denoiser took away with the noise, given back, so that findings stay as visible as they were."""

import numpy as np
from scipy import ndimage

BROAD_VOX = 1.5  # Choice: what was removed is given back blurred by this; of white noise a tenth passes
AROUND_VOX = 3.0  # Choice: of the Gaussian that a contrast is measured in
STRUCTURE = (0.1, 0.2)  # Choice: variance of the result by that of what was removed, where contrast begins to count
MOST = 1.6  # Choice: by which a contrast is stretched at most


def keep_contrast(noisy_zyx: np.ndarray, denoised_zyx: np.ndarray) -> np.ndarray:
    """Return a denoised scan with the means and the contrasts of the noisy one, float32 HU.

    A denoiser in doubt takes a share of a small structure away. First what was removed is given back where it is broad:
    noise has little there. Then, around each voxel, the noisy scan is regressed on the denoised one. As noise is no
    part of the latter, the slope is 1 where contrast was kept, and its inverse share where a share was lost; by that
    the result is stretched around its local mean. Flat tissue, where there is nothing but a rest of the noise to
    regress on, stays as it is.

    Args:
        noisy_zyx: the scan.
        denoised_zyx: the scan denoised, on the same grid.
    """
    noisy, result = (np.asarray(hu, np.float32) for hu in (noisy_zyx, denoised_zyx))
    result = result + ndimage.gaussian_filter(noisy - result, BROAD_VOX)
    mean = _around(result)
    detail = result - mean
    variance = _around(detail**2)
    slope = _around(detail * (noisy - _around(noisy))) / np.maximum(variance, 1e-3)
    low, high = STRUCTURE
    structure = variance / np.maximum(_around((noisy - result) ** 2), 1e-3)
    share = np.clip((structure - low) / (high - low), 0, 1)
    return mean + (1 + share * (np.clip(slope, 1, MOST) - 1)) * detail


def _around(values_zyx: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(values_zyx, AROUND_VOX)
