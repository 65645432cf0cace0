"""Seams: jumps at the borders of the sliding windows, beside those in the interior."""

from collections.abc import Sequence

import numpy as np

REACH_VOX = 4  # how far from a border the interior is looked at


def seam_ratio(hu_zyx: np.ndarray, body_zyx: np.ndarray, borders_zyx: Sequence[Sequence[int]]) -> float:
    """Return how much larger the jump from plane to plane is at window borders than around them; 1 is no seam.

    A jump is the mean absolute difference of two neighbouring planes over the voxels that are body in both. Each
    border's jump is divided by the median jump within `REACH_VOX` planes that are no border; the mean over all
    borders of all axes is returned, nan where there is no border with an interior beside it.

    Args:
        hu_zyx: the volume.
        body_zyx: where it is body, bool.
        borders_zyx: planes along each axis with which a window begins or ends.
    """
    ratios = []
    for axis, borders in enumerate(borders_zyx):
        jumps = _jumps(np.moveaxis(hu_zyx, axis, 0), np.moveaxis(body_zyx, axis, 0))
        for border in borders:
            around = range(max(1, border - REACH_VOX), min(len(jumps), border + REACH_VOX + 1))
            interior = [jumps[plane] for plane in around if plane not in borders and jumps[plane] > 0]
            if interior and not np.isnan(jumps[border]):
                ratios.append(jumps[border] / np.median(interior))
    return float(np.mean(ratios)) if ratios else float("nan")


def _jumps(hu: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return each plane's mean difference to the one before; nan where they share no body, and for the first."""
    jumps = np.full(len(hu), np.nan)
    for plane in range(1, len(hu)):
        both = body[plane] & body[plane - 1]
        if both.any():
            jumps[plane] = np.abs(hu[plane][both].astype(np.float32) - hu[plane - 1][both]).mean()
    return jumps
