"""What a region of a scan looks like to a model, HU of each structure and noise, and what those of its training did."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from meddiff.anatomy.labels import CLASS_NAMES, LABEL_COUNT, OUTSIDE
from meddiff.anatomy.noise import measure_noise_hu
from meddiff.config import Region, Window
from meddiff.errors import CaseError
from meddiff.volumes.hu import clip_hu

NAMES = ("outside", *CLASS_NAMES, "body")
SMALLEST_ML = 1.0  # Choice: of a structure whose median is one
QUANTILES = (0.05, 0.5, 0.95)

Range = tuple[float, float, float]  # low, median, high: the `QUANTILES` of scans


@dataclass(frozen=True)
class Appearance:
    """What one region of a scan looks like.

    Args:
        median_hu: structure -> the median of its voxels within the region's window, HU.
        noise_hu: standard deviation of the noise in soft tissue; None where there is no soft tissue.
    """

    median_hu: dict[str, float]
    noise_hu: float | None

    @classmethod
    def of(cls, hu_zyx: np.ndarray, labels_zyx: np.ndarray, spacing_mm: float, window: Window) -> "Appearance":
        """Look at a region.

        Args:
            hu_zyx: int16 HU, clipped to the window or not.
            labels_zyx: its label ids.
            spacing_mm: isotropic spacing.
            window: the region's.
        """
        clipped_zyx = clip_hu(hu_zyx, window)
        try:
            noise_hu = round(measure_noise_hu(clipped_zyx, labels_zyx, spacing_mm), 1)
        except CaseError:
            noise_hu = None
        return cls(_medians_hu(clipped_zyx, labels_zyx, SMALLEST_ML * 1000 / spacing_mm**3), noise_hu)


@dataclass(frozen=True)
class KnownScans:
    """What the scans of one region that a model was trained on look like.

    Args:
        scans: how many of them were looked at.
        median_hu: structure -> the range of the scans' medians, HU.
        noise_hu: the range of their noise, HU.
    """

    scans: int
    median_hu: dict[str, Range]
    noise_hu: Range | None

    @classmethod
    def from_scans(cls, seen: Iterable[Appearance]) -> "KnownScans":
        """Summarise what scans look like."""
        looks = list(seen)
        names = sorted({name for look in looks for name in look.median_hu}, key=NAMES.index)
        medians = {name: _range([look.median_hu[name] for look in looks if name in look.median_hu]) for name in names}
        noises = [look.noise_hu for look in looks if look.noise_hu is not None]
        return cls(len(looks), medians, _range(noises) if noises else None)

    def described(self, region: Region) -> str:
        """Return them in a few words."""
        noise = f", noise of {self.noise_hu[0]:g} to {self.noise_hu[-1]:g} HU" if self.noise_hu else ""
        return f"{region} of {self.scans} scans{noise}, {len(self.median_hu)} structures"


def _range(values: list[float]) -> Range:
    low, middle, high = (round(float(value), 1) for value in np.quantile(values, QUANTILES))
    return low, middle, high


def _medians_hu(hu_zyx: np.ndarray, labels_zyx: np.ndarray, least_vox: float) -> dict[str, float]:
    """Return the median HU of each structure that has so many voxels; of a histogram, so that nothing is sorted."""
    lowest, width = int(hu_zyx.min()), int(np.ptp(hu_zyx)) + 1
    counts = np.zeros(LABEL_COUNT * width, np.int64)
    for hu, labels in zip(hu_zyx, labels_zyx, strict=True):
        counts += np.bincount((labels.astype(np.int64) * width + hu - lowest).ravel(), minlength=len(counts))
    by_label = counts.reshape(LABEL_COUNT, width).cumsum(1)
    present = [label for label in range(OUTSIDE + 1, LABEL_COUNT) if by_label[label, -1] >= max(1, least_vox)]
    return {NAMES[i]: float(lowest + np.searchsorted(by_label[i], by_label[i, -1] / 2)) for i in present}
