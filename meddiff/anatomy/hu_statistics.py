"""What the voxels of a region's body say: HU percentiles, the share that its window clips, volumes of organs."""

import numpy as np

from meddiff.anatomy.labels import LUNG, OUTSIDE, ids
from meddiff.config import Window
from meddiff.volumes.volumes import AIR_HU

PERCENTILES = (1, 5, 50, 95, 99)
COLUMNS = (
    "min_hu",
    *(f"p{percentile:02d}_hu" for percentile in PERCENTILES),
    "max_hu",
    "mean_hu",
    "below_window",
    "above_window",
    "body_ml",
    "lung_ml",
    "liver_ml",
)


def hu_statistics(ct_zyx: np.ndarray, labels_zyx: np.ndarray, spacing_mm: float, window: Window) -> dict[str, float]:
    """Return the numbers of `COLUMNS`: HU and volumes within the body, and the shares of its voxels beyond the window.

    Args:
        ct_zyx: int16 HU, not below air.
        labels_zyx: anatomy with at least one voxel of the body.
        spacing_mm: isotropic spacing.
        window: the region's.
    """
    counts = _histogram(ct_zyx, labels_zyx != OUTSIDE)
    hu = np.arange(len(counts)) + AIR_HU
    total, cumulative = counts.sum(), counts.cumsum()
    found = np.flatnonzero(counts)
    ml = spacing_mm**3 / 1000
    return {
        "min_hu": int(hu[found[0]]),
        # The smallest HU with at least this share of the voxels at or below it.
        **{f"p{p:02d}_hu": int(hu[np.searchsorted(cumulative, total * p / 100)]) for p in PERCENTILES},
        "max_hu": int(hu[found[-1]]),
        "mean_hu": round(float(hu @ counts / total), 1),
        "below_window": round(float(counts[hu < window.low_hu].sum() / total), 4),
        "above_window": round(float(counts[hu > window.high_hu].sum() / total), 4),
        "body_ml": round(float(total * ml), 1),
        "lung_ml": round(float(np.isin(labels_zyx, ids(*LUNG)).sum() * ml), 1),
        "liver_ml": round(float(np.isin(labels_zyx, ids("liver")).sum() * ml), 1),
    }


def _histogram(ct_zyx: np.ndarray, body_zyx: np.ndarray) -> np.ndarray:
    """Return how many voxels of the body have each HU from air upwards."""
    counts = np.zeros(int(ct_zyx.max()) - AIR_HU + 1, np.int64)
    for plane, body in zip(ct_zyx, body_zyx, strict=True):  # int64 of the whole scan would be four times its size
        counts += np.bincount(plane[body].astype(np.int64) - AIR_HU, minlength=len(counts))
    return counts
