"""Classical denoisers to compare with (Table 4): each takes and returns a CT, int16 HU, `zyx`."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy import ndimage

from meddiff.metrics.fidelity import SCORING_WINDOW
from meddiff.tasks.contrast import keep_contrast
from meddiff.tasks.noise_spectrum import NoiseSpectrum

# Choice: what `best_strength` tries: voxels for the Gaussian, times the scan's noise for non-local means, HU for the
# others.
STRENGTHS = {
    "gaussian": (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0),
    "bilateral": (10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0),
    "nlm": (0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0),
    "bm3d": (20.0, 30.0, 45.0, 70.0, 110.0, 170.0),
}

LEAST_NOISE_HU = 0.3  # of rounding to whole HU


def median(hu_zyx: np.ndarray) -> np.ndarray:
    """Return the median of each voxel's 3 x 3 x 3 neighbours.

    Choice: in three dimensions, because the noise of neighbouring slices is independent, while that of neighbours in a
    slice is not.
    """
    return _as_hu(ndimage.median_filter(hu_zyx, 3))


def gaussian(hu_zyx: np.ndarray, sigma_vox: float) -> np.ndarray:
    """Return the scan smoothed by a Gaussian with the given standard deviation along all axes."""
    return _as_hu(ndimage.gaussian_filter(hu_zyx.astype(np.float32), sigma_vox))


def bilateral(hu_zyx: np.ndarray, range_hu: float) -> np.ndarray:
    """Return each axial slice after a bilateral filter (Tomasi and Manduchi 1998, scikit-image's).

    Choice: a spatial standard deviation of 1.8 voxels, in the middle of what Zhang and Gunturk 2008 found good.

    Args:
        hu_zyx: the noisy scan.
        range_hu: standard deviation along the values, HU; once or twice that of the noise.
    """
    from skimage.restoration import denoise_bilateral

    def denoise(hu_yx: np.ndarray) -> np.ndarray:
        lowest = hu_yx.min()  # scikit-image 0.26 filters far too strongly where values are negative
        return lowest + denoise_bilateral(hu_yx - lowest, sigma_color=range_hu, sigma_spatial=1.8, mode="edge")

    return _by_slice(denoise, hu_zyx)


def nlm(hu_zyx: np.ndarray, strength: float) -> np.ndarray:
    """Return each axial slice after non-local means (Buades et al. 2005, scikit-image's).

    Choice: patches of 5 x 5 pixels out of 13 x 13. The noise is that of the scan itself, and from the distance of two
    patches twice its variance is taken, the share that noise explains. The filter's width along that distance is a
    multiple of the noise: for white noise 0.8 would be usual; that of CT is correlated and asks for more.

    Args:
        hu_zyx: the noisy scan.
        strength: the filter's width, in standard deviations of the noise.

    Raises:
        CaseError: there is too little soft tissue to measure the noise in.
    """
    from skimage.restoration import denoise_nl_means

    noise_hu = max(NoiseSpectrum.from_scan(hu_zyx).std_hu, LEAST_NOISE_HU)
    settings = {"patch_size": 5, "patch_distance": 6, "h": strength * noise_hu, "sigma": noise_hu, "fast_mode": True}
    return _by_slice(lambda hu_yx: denoise_nl_means(hu_yx, **settings), hu_zyx)


def bm3d(hu_zyx: np.ndarray, noise_hu: float) -> np.ndarray:
    """Return each axial slice after BM3D (Dabov et al. 2007), by its authors' library, for white noise.

    The licence of the library allows non-commercial use only. The noise of CT is not white, so that a value above its
    standard deviation is often better.

    Args:
        hu_zyx: the noisy scan; slices of at least 8 x 8 voxels.
        noise_hu: standard deviation of its noise, HU.

    Raises:
        ValueError: a slice is smaller.
    """
    from bm3d import BM3DProfile
    from bm3d import bm3d as denoise

    width = SCORING_WINDOW.width_hu  # the library expects images of about unit range
    profile = BM3DProfile()
    profile.num_threads = 1  # with several of its own the result differs from run to run
    return _by_slice(lambda hu_yx: denoise(hu_yx / width, noise_hu / width, profile) * width, hu_zyx)


def wiener(hu_zyx: np.ndarray) -> np.ndarray:
    """Return the scan after a Wiener filter of its own noise spectrum: what `meddiff-fm-guided` is without the model.

    Raises:
        CaseError: there is too little soft tissue to measure the noise in.
    """
    noise = NoiseSpectrum.from_scan(hu_zyx)
    return _as_hu(keep_contrast(hu_zyx, noise.wiener(hu_zyx, noise.significant(hu_zyx))))


BASELINES: dict[str, Callable[..., np.ndarray]] = {
    "median": median,
    "gaussian": gaussian,
    "bilateral": bilateral,
    "nlm": nlm,
    "bm3d": bm3d,
    "wiener": wiener,
}


def best_strength(
    denoise: Callable[[np.ndarray, float], np.ndarray],
    strengths: Sequence[float],
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
) -> float:
    """Return the strength of a denoiser that is best on pairs of a noisy and a clean scan.

    Choice: the one with the least squared error within the scoring window, [-160, 240] HU.

    Args:
        denoise: a denoiser of a scan and a strength: one of `BASELINES`, or another.
        strengths: what to try, such as an entry of `STRENGTHS`.
        pairs: scans on one grid, `zyx` HU; not those that are scored later.
    """
    errors = np.zeros(len(strengths))
    for noisy_zyx, clean_zyx in pairs:
        errors += [_squared_error(denoise(noisy_zyx, strength), clean_zyx) for strength in strengths]
    return strengths[int(errors.argmin())]


def _squared_error(hu_zyx: np.ndarray, clean_zyx: np.ndarray) -> float:
    ends = SCORING_WINDOW.low_hu, SCORING_WINDOW.high_hu
    difference = np.clip(hu_zyx.astype(np.float32), *ends) - np.clip(clean_zyx.astype(np.float32), *ends)
    return float(np.square(difference).sum(dtype=np.float64))


def _by_slice(denoise: Callable[[np.ndarray], np.ndarray], hu_zyx: np.ndarray) -> np.ndarray:
    """Return the scan after a function of its axial slices, float64 HU; as many at a time as torch has threads."""
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return np.stack(list(threads.map(lambda hu_yx: _as_hu(denoise(hu_yx.astype(np.float64))), hu_zyx)))


def _as_hu(hu: np.ndarray) -> np.ndarray:
    ends = np.iinfo(np.int16)
    return np.clip(np.round(hu), ends.min, ends.max).astype(np.int16)
