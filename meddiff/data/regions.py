"""Splitting a scan into head and neck, chest and abdomen (section 4.1), by TotalSegmentator's landmarks.

Choice (the paper names no rule): vertebrae come first, organs where a vertebra is missing.
Head and neck: from the lower end of C7 to the vertex, above any lungs.
Chest: from below the lung bases to above the lung apices. Abdomen: from the lower end of L5 to above the liver dome.
A region is kept when its organ is large enough and mostly inside the scan. In-plane, every region is cut to the body
plus a margin.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from meddiff.config import Region, RegionsConfig
from meddiff.data.anatomy.labels import LUNG, ids

Span = tuple[int, int]
Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class RegionBox:
    """A region's box in a volume: first voxel, and the voxel after the last one, in `zyx` order."""

    region: Region
    start_zyx: Voxel
    stop_zyx: Voxel
    evidence: str


def find_regions(labels_zyx: np.ndarray, spacing_mm: float, region: Region, config: RegionsConfig) -> list[RegionBox]:
    """Return the regions of a scan: itself when its region is known, else the parts of a whole body.

    Args:
        labels_zyx: anatomy with the body as id 118.
        spacing_mm: isotropic spacing.
        region: what the manifest says of the scan.
        config: margins and limits.
    """
    depth = len(labels_zyx)
    if region != Region.WHOLE_BODY:
        spans = {region: ((0, depth), "known from the dataset")}
    else:
        landmarks = _Landmarks(labels_zyx, spacing_mm, config)
        spans = {
            found: span
            for found, span in (
                (Region.HAN, landmarks.head_and_neck()),
                (Region.CHEST, landmarks.chest()),
                (Region.ABDOMEN, landmarks.abdomen()),
            )
            if span is not None
        }
    margin_vox = round(config.margin_mm / spacing_mm)
    boxes = []
    for found, ((low, high), evidence) in spans.items():
        body = labels_zyx[low:high] > 0
        if body.any():
            start, stop = bounding_box(body, margin_vox)
            boxes.append(RegionBox(found, (low, *start[1:]), (high, *stop[1:]), evidence))
    return boxes


def bounding_box(mask_zyx: np.ndarray, margin_vox: int) -> tuple[Voxel, Voxel]:
    """Return the box of a mask that is not empty, first voxel and the one after the last, widened inside the array."""
    start, stop = [], []
    for axis, size in enumerate(mask_zyx.shape):
        hit = np.flatnonzero(mask_zyx.any(tuple(a for a in range(3) if a != axis)))
        start.append(max(0, int(hit[0]) - margin_vox))
        stop.append(min(size, int(hit[-1]) + 1 + margin_vox))
    return tuple(start), tuple(stop)  # type: ignore[return-value]


class _Landmarks:
    """The extents along z of the structures that define regions."""

    def __init__(self, labels_zyx: np.ndarray, spacing_mm: float, config: RegionsConfig) -> None:
        self._labels = labels_zyx
        self._ml_per_voxel = spacing_mm**3 / 1000
        self._margin = round(config.margin_mm / spacing_mm)
        self._config = config
        self._depth = len(labels_zyx)

    def head_and_neck(self) -> tuple[Span, str] | None:
        head = self._organ(("brain", "skull"))
        lungs = _extent_z(_main_component(np.isin(self._labels, ids(*LUNG))))
        if head is None or (lungs and head[0] < lungs[1]):  # no head lies beside or below lungs
            return None
        for name in ("vertebrae_C7", "vertebrae_C6", "vertebrae_T1"):
            if (spine := self._vertebra(name)) is not None:
                return (spine[0], self._depth), f"lower end of {name} to vertex"
        return (0, self._depth), "brain; no cervical vertebra found, so the whole scan"

    def chest(self) -> tuple[Span, str] | None:
        lungs = self._organ(LUNG)
        if lungs is None:
            return None
        low, high = max(0, lungs[0] - self._margin), min(self._depth, lungs[1] + self._margin)
        return (low, high), "lung bases to lung apices, and margin"

    def abdomen(self) -> tuple[Span, str] | None:
        liver = self._organ(("liver",))
        if liver is None:
            return None
        high = min(self._depth, liver[1] + self._margin)
        for name in ("vertebrae_L5", "sacrum", "vertebrae_L4"):
            if (spine := self._vertebra(name)) is not None and spine[0] < liver[0]:
                return (spine[0], high), f"lower end of {name} to liver dome, and margin"
        return None

    def _vertebra(self, name: str) -> Span | None:
        return _extent_z(_main_component(np.isin(self._labels, ids(name))))

    def _organ(self, names: tuple[str, ...]) -> Span | None:
        """Return the extent of an organ that is large enough and not cut off by the scan's end."""
        mask = _main_component(np.isin(self._labels, ids(*names)))
        area = mask.sum((1, 2))
        if area.sum() * self._ml_per_voxel < self._config.min_organ_ml:
            return None
        if max(area[0], area[-1]) > self._config.max_cut * area.max():
            return None
        return _extent_z(mask)


def _main_component(mask_zyx: np.ndarray) -> np.ndarray:
    """Return the components that are at least a third of the largest one (two lungs, one liver, no specks)."""
    components, count = ndimage.label(mask_zyx)
    if count <= 1:
        return mask_zyx
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return (sizes >= sizes.max() / 3)[components]


def _extent_z(mask_zyx: np.ndarray) -> Span | None:
    planes = np.flatnonzero(mask_zyx.any((1, 2)))
    return (int(planes[0]), int(planes[-1]) + 1) if len(planes) else None
