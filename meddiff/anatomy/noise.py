"""The noise of one scan, measured from the scan itself (Christianson et al. 2015, the global noise level)."""

import numpy as np
from scipy import ndimage

from meddiff.errors import CaseError

SOFT_TISSUE_HU = (0.0, 100.0)  # as published
KERNEL_MM, LEAST_KERNEL_VOX = 6.0, 3  # as published; coarse voxels have three
BINS_PER_E, SMOOTHING_BINS = 50, 5  # Choice: a histogram of 2 % wide bins, smoothed by 10 %


def measure_noise_hu(hu_zyx: np.ndarray, anatomy_zyx: np.ndarray, spacing_mm: float) -> float:
    """Return the standard deviation of a scan's noise in soft tissue, HU.

    Around each voxel of soft tissue the standard deviation within its slice is taken, and of all these the most
    frequent one: edges and vessels make it larger, here by this and there by that, while noise makes it the same all
    over. Slices are taken alone, because those of a thick-sliced scan are not independent at the model's spacing.

    Choice: soft tissue is where the mean of the kernel is 0 to 100 HU, not the voxel, which noise would take out of it.

    Of voxels of 1 to 1.5 mm it is right to 6 %: with white noise and with that of a reconstruction, which has little
    at low frequencies; noise that is a smoothed one over 2 mm comes out a seventh too low. Of voxels of 2 to 5 mm,
    which hold more anatomy, it can be 13 % too high (noise added to real scans). Lungs, whose noise is another, are
    not looked at.

    Args:
        hu_zyx: the scan, not clipped to a window, at an isotropic spacing.
        anatomy_zyx: its label ids; 0 is outside of the body.
        spacing_mm: size of the voxels.

    Raises:
        CaseError: there is no soft tissue.
    """
    kernel = max(LEAST_KERNEL_VOX, 2 * int(KERNEL_MM / spacing_mm // 2) + 1)
    voxels = kernel**2
    variances = np.concatenate(
        [_variances(hu, body, kernel) for hu, body in zip(hu_zyx, anatomy_zyx > 0, strict=True) if body.any()] or [[]]
    )
    if not variances.size:
        raise CaseError("no soft tissue to measure the noise in; give it with --noise-hu")
    # The sample's deviation is that of a chi distribution, whose mode is a little below the truth.
    return _mode(np.sqrt(variances * voxels / (voxels - 1))) * ((voxels - 1) / (voxels - 2)) ** 0.5


def _variances(hu_yx: np.ndarray, body_yx: np.ndarray, kernel: int) -> np.ndarray:
    """Return the variance of each kernel of a slice that lies in soft tissue."""
    hu = hu_yx.astype(np.float64)
    mean = ndimage.uniform_filter(hu, kernel)
    variance = ndimage.uniform_filter(hu**2, kernel) - mean**2
    whole = ndimage.minimum_filter(body_yx, kernel)
    low, high = SOFT_TISSUE_HU
    return variance[whole & (low <= mean) & (mean <= high)].clip(0)


def _mode(values: np.ndarray) -> float:
    """Return the most frequent of positive values; 0 where most of them are none."""
    positive = values[values > 1e-3]
    if positive.size < values.size / 2:
        return 0.0
    bins = np.floor(np.log(positive) * BINS_PER_E).astype(int)
    counts = np.bincount(bins - bins.min()).astype(float)
    centres = np.exp((bins.min() + np.arange(len(counts)) + 0.5) / BINS_PER_E)
    density = ndimage.gaussian_filter1d(counts, SMOOTHING_BINS, mode="constant") / centres
    return float(centres[density.argmax()])
