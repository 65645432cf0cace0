"""The metrics of the tables: on what values each is computed, its range, what is perfect and which way is better."""

from dataclasses import dataclass
from typing import Literal

HIGHER, LOWER = "↑", "↓"
INFINITY = float("inf")


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Args:
        better: `HIGHER` or `LOWER`.
        lowest: no value is below.
        highest: no value is above.
        perfect: the value of two identical scans, masks or distributions.
        on: the values that are compared.
    """

    better: Literal["↑", "↓"]
    lowest: float
    highest: float
    perfect: float
    on: str


_MASKS = "voxels of two masks"
_FEATURES = "MedicalNet's features of HU in the region's window as [-1, 1], resized to a cube"
_RANKED = "scores of voxels, higher where it is more abnormal"
_DECIDED = "voxels above and below a threshold"

METRICS = {
    "ms_ssim": Metric(HIGHER, 0, 1, 1, "HU in the region's window as [0, 1]; data range 1"),
    "lpips": Metric(LOWER, 0, 4, 0, f"{_FEATURES}; of unit length at each voxel"),
    "fid": Metric(LOWER, 0, INFINITY, 0, f"{_FEATURES}; their means over space"),
    "mmd": Metric(LOWER, -2, 2, 0, f"{_FEATURES}; their means over space; squared, unbiased: about 0 when equal"),
    "dice": Metric(HIGHER, 0, 1, 1, _MASKS),
    "inpainting_dice": Metric(HIGHER, 0, 1, 1, _MASKS),
    "ceiling": Metric(HIGHER, 0, 1, 1, _MASKS),
    "ssim": Metric(HIGHER, -1, 1, 1, "slices in the table's HU window as [0, 1]; data range 2 in Table 4, else 1"),
    "ssim_range1": Metric(HIGHER, -1, 1, 1, "slices in [-160, 240] HU as [0, 1]; data range 1"),
    "psnr": Metric(HIGHER, 0, INFINITY, INFINITY, "dB; the table's HU window as [0, 1]; data range 1"),
    "auc": Metric(HIGHER, 0, 1, 1, f"{_RANKED}, all of the cropped scan"),
    "organ_auc": Metric(HIGHER, 0, 1, 1, f"{_RANKED}, of the organ"),
    "organ_ap": Metric(HIGHER, 0, 1, 1, f"{_RANKED}, of the organ"),
    "spe": Metric(HIGHER, 0, 1, 1, _DECIDED),
    "sen": Metric(HIGHER, 0, 1, 1, _DECIDED),
    "acc": Metric(HIGHER, 0, 1, 1, _DECIDED),
    "image_auroc": Metric(HIGHER, 0, 1, 1, "BMAD's slices of livers, quoted alone"),
    "pixel_auroc": Metric(HIGHER, 0, 1, 1, "BMAD's slices of livers, quoted alone"),
    "pro": Metric(HIGHER, 0, 1, 1, "BMAD's slices of livers, quoted alone"),
    "false_positives": Metric(LOWER, 0, INFINITY, 0, "findings that touch no lesion"),
}


def heading(column: str) -> str:
    """Return a column's name for people: with an arrow where one way is better."""
    return f"{column} {METRICS[column].better}" if column in METRICS else column
