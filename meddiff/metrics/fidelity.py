"""Fidelity of a denoised CT to the normal-dose one: PSNR and SSIM of axial slices, as Noise2Sim scores (Table 4)."""

import numpy as np

from meddiff.config import Window

SCORING_WINDOW = Window(level_hu=40, width_hu=400)  # [-160, 240] HU
SSIM_WINDOW_VOX = 7  # of scikit-image, by default
# Noise2Sim gave no data range, and scikit-image of that time took 2 for floats, though they lie in [0, 1].
DATA_RANGES = {"ssim": 2.0, "ssim_range1": 1.0}


def fidelity(image_zyx: np.ndarray, clean_zyx: np.ndarray) -> dict[str, float]:
    """Return how near an image comes to the clean one, in [-160, 240] HU and averaged over its axial slices.

    The values are those of Niu et al. 2022 (Noise2Sim), `scripts/test_ldct.py`. In a slice whose two images agree
    within the window PSNR has no finite value.
    Choice: such slices, usually air alone, are left out of PSNR's mean; where all agree, it is inf.
    Choice: PSNR's peak is the width of the window, 400 HU, as Noise2Sim's 255, not that of the scan: about 4,000 HU,
    which would add 20 dB, though what lies beyond the window was clipped.

    Args:
        image_zyx: the image to score, HU.
        clean_zyx: the normal-dose image on the same grid, HU.

    Returns:
        `psnr` in dB; `ssim` as in the paper, with a data range of 2; `ssim_range1` with the proper data range of 1.
        The last two are nan where a slice has a side below 7.

    Raises:
        ValueError: the arrays are empty, not 3-D or of different shapes.
    """
    if image_zyx.shape != clean_zyx.shape or clean_zyx.ndim != 3 or not clean_zyx.size:
        raise ValueError(f"shapes {image_zyx.shape} and {clean_zyx.shape} are not those of two volumes on one grid")
    pairs = [(_scale(image), _scale(clean)) for image, clean in zip(image_zyx, clean_zyx, strict=True)]
    psnr = [value for value in (_psnr(*pair) for pair in pairs) if np.isfinite(value)]
    scores = {"psnr": float(np.mean(psnr)) if psnr else float("inf")}
    for name, data_range in DATA_RANGES.items():
        scores[name] = float(np.mean([_ssim(*pair, data_range) for pair in pairs]))
    return scores


def _scale(hu_yx: np.ndarray) -> np.ndarray:
    """Return the values of the scoring window as float64 in [0, 1], clipped."""
    scaled = (np.asarray(hu_yx, np.float64) - SCORING_WINDOW.low_hu) / SCORING_WINDOW.width_hu
    return np.clip(scaled, 0, 1)


def _psnr(image_yx: np.ndarray, clean_yx: np.ndarray) -> float:
    error = float(np.mean(((clean_yx - image_yx) * 255) ** 2))
    return 20 * np.log10(255) - 10 * np.log10(error) if error else float("inf")


def _ssim(image_yx: np.ndarray, clean_yx: np.ndarray, data_range: float) -> float:
    from skimage.metrics import structural_similarity

    if min(clean_yx.shape) < SSIM_WINDOW_VOX:
        return float("nan")
    return np.asarray(structural_similarity(clean_yx, image_yx, data_range=data_range)).item()
