"""Agreement of a synthetic scan's organs with the anatomy it was made from: Dice."""

import numpy as np

from meddiff.anatomy.labels import KIDNEY, LUNG, ids
from meddiff.config import Region

# Section 4.1, Evaluation Metrics: the major organs of each region, each as one structure.
MAJOR_ORGANS: dict[Region, dict[str, tuple[str, ...]]] = {
    Region.HAN: {"brain": ("brain",), "skull": ("skull",)},
    Region.CHEST: {"lung": LUNG, "heart": ("heart",), "aorta": ("aorta",)},
    Region.ABDOMEN: {
        "spleen": ("spleen",),
        "kidney": KIDNEY,
        "gallbladder": ("gallbladder",),
        "liver": ("liver",),
        "stomach": ("stomach",),
        "pancreas": ("pancreas",),
        "small_bowel": ("small_bowel",),
        "duodenum": ("duodenum",),
        "colon": ("colon",),
    },
}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Dice coefficient of two boolean masks; nan when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def organ_dice(
    condition_zyx: np.ndarray, judged_zyx: np.ndarray, region: Region, min_organ_vox: int
) -> dict[str, float]:
    """Return the Dice of each major organ of the region; nan for one that the condition barely has."""
    scores = {}
    for organ, names in MAJOR_ORGANS[region].items():
        wanted = np.isin(condition_zyx, ids(*names))
        enough = int(wanted.sum()) >= min_organ_vox
        scores[organ] = dice(wanted, np.isin(judged_zyx, ids(*names))) if enough else float("nan")
    return scores
