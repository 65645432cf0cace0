"""Splitting a scan into head and neck, chest and abdomen (section 4.1), by TotalSegmentator's landmarks.

Choice (the paper names no rule): vertebrae come first, their neighbours where a vertebra is missing or lies where it
cannot be.
Head and neck: from the lower end of C7 to the vertex, above any lungs.
Chest: from below the lung bases to above the lung apices. Abdomen: from the lower end of L5 to above the liver dome.
A region is kept when its organ is large enough and mostly inside the scan. In-plane, every region is cut to the body
plus a margin.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from meddiff.anatomy.labels import BODY, LUNG, ids
from meddiff.config import Region, RegionsConfig
from meddiff.errors import CaseError
from meddiff.machine.files import read_json

Span = tuple[int, int]
Voxel = tuple[int, int, int]
CERVICAL = tuple(f"vertebrae_C{i}" for i in range(1, 8))
SMALLEST_PIECE = 1 / 3  # of the largest: two lungs, one liver
TALLEST_VERTEBRA_MM = 100.0  # with its processes, and tilted


@dataclass(frozen=True)
class RegionBox:
    """A region's box in a volume: first voxel, and the voxel after the last one, in `zyx` order."""

    region: Region
    start_zyx: Voxel
    stop_zyx: Voxel
    evidence: str

    @property
    def slices(self) -> tuple[slice, ...]:
        """The index of the region in a `zyx` array."""
        return tuple(slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))


def read_boxes(path: Path) -> list[RegionBox]:
    """Return the regions of a case as the stage `regions` wrote them."""
    return [
        RegionBox(Region(box["region"]), tuple(box["start_zyx"]), tuple(box["stop_zyx"]), box["evidence"])
        for box in read_json(path)
    ]


def find_regions(labels_zyx: np.ndarray, spacing_mm: float, region: Region, config: RegionsConfig) -> list[RegionBox]:
    """Return the regions of a scan: itself when its region is known, else the parts of a whole body.

    Args:
        labels_zyx: anatomy with the body as id 118.
        spacing_mm: isotropic spacing.
        region: what the manifest says of the scan.
        config: margins and limits.

    Raises:
        CaseError: a whole body is upside down.
    """
    depth = len(labels_zyx)
    if region != Region.WHOLE_BODY:
        spans = {region: ((0, depth), "known from the dataset")}
    else:
        landmarks = _Landmarks(labels_zyx, spacing_mm, config)
        landmarks.refuse_upside_down()
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
        body = _body(labels_zyx[low:high])
        if body.any():
            start, stop = bounding_box(body, margin_vox)
            boxes.append(RegionBox(found, (low, *start[1:]), (high, *stop[1:]), evidence))
    return boxes


def find_region(labels_zyx: np.ndarray, spacing_mm: float, region: Region, config: RegionsConfig) -> RegionBox:
    """Return the box of the one region that a scan or a mask shows, cut as the store cuts those of training.

    Raises:
        CaseError: there is no anatomy.
    """
    boxes = find_regions(labels_zyx, spacing_mm, region, config)
    if not boxes:
        raise CaseError(f"no {region} in the scan")
    return boxes[0]


def bounding_box(mask_zyx: np.ndarray, margin_vox: int) -> tuple[Voxel, Voxel]:
    """Return the box of a mask that is not empty, first voxel and the one after the last, widened inside the array."""
    start, stop = [], []
    for axis, size in enumerate(mask_zyx.shape):
        hit = np.flatnonzero(mask_zyx.any(tuple(a for a in range(3) if a != axis)))
        start.append(max(0, int(hit[0]) - margin_vox))
        stop.append(min(size, int(hit[-1]) + 1 + margin_vox))
    return tuple(start), tuple(stop)  # type: ignore[return-value]


def _body(labels_zyx: np.ndarray) -> np.ndarray:
    """Return the body's skin, so that structures misread in the air around it do not count; without it, all of them."""
    body_zyx = labels_zyx == BODY
    return body_zyx if body_zyx.any() else labels_zyx > 0


@dataclass(frozen=True)
class _Profile:
    """A structure's voxels in every plane of the scan, at least one in all."""

    area_z: np.ndarray

    @property
    def low(self) -> int:
        return int(np.flatnonzero(self.area_z)[0])

    @property
    def high(self) -> int:
        """The plane after the last one."""
        return int(np.flatnonzero(self.area_z)[-1]) + 1

    @property
    def middle(self) -> int:
        """The plane with half of the structure below it."""
        return int(np.searchsorted(self.area_z.cumsum(), self.area_z.sum() / 2))


class _Landmarks:
    """The extents along z of the structures that define regions."""

    def __init__(self, labels_zyx: np.ndarray, spacing_mm: float, config: RegionsConfig) -> None:
        self._labels = labels_zyx
        self._boxes = ndimage.find_objects(labels_zyx, max_label=BODY)
        self._spacing_mm = spacing_mm
        self._margin = round(config.margin_mm / spacing_mm)
        self._config = config
        self._depth = len(labels_zyx)
        self._lungs = self._organ(LUNG)
        self._liver = self._organ(("liver",))

    def refuse_upside_down(self) -> None:
        if self._lungs and self._liver and self._liver.middle > self._lungs.middle:
            raise CaseError("the liver lies above the lungs: the scan is upside down")

    def head_and_neck(self) -> tuple[Span, str] | None:
        head, lungs = self._organ(("brain", "skull")), self._lungs
        if head is None or self._is_cut(head):
            return None
        neck = self._profile(CERVICAL)
        if (lungs and head.low < lungs.high) or (neck and neck.middle > head.middle):
            return None  # no head lies beside or below lungs, or below its neck
        inside = (lungs.middle if lungs else 0, head.middle)
        if c7 := self._vertebra("vertebrae_C7", inside):
            return (c7.low, self._depth), "lower end of C7 to vertex"
        if t1 := self._vertebra("vertebrae_T1", inside):
            return (t1.high, self._depth), "upper end of T1 to vertex"
        if lungs:
            return (lungs.high, self._depth), "lung apices to vertex"
        return (0, self._depth), "start of the scan to vertex"

    def chest(self) -> tuple[Span, str] | None:
        lungs = self._lungs
        if lungs is None or self._is_cut(lungs):
            return None
        low, high = max(0, lungs.low - self._margin), min(self._depth, lungs.high + self._margin)
        return (low, high), "lung bases to lung apices, and margin"

    def abdomen(self) -> tuple[Span, str] | None:
        liver = self._liver
        if liver is None or self._is_cut(liver):
            return None
        high = min(self._depth, liver.high + self._margin)
        sacrum = self._profile(("sacrum", "vertebrae_S1"))
        inside = (sacrum.middle if sacrum else 0, liver.middle)
        if l5 := self._vertebra("vertebrae_L5", inside):
            return (l5.low, high), "lower end of L5 to liver dome, and margin"
        if sacrum and sacrum.high < liver.middle:
            return (sacrum.high, high), "upper end of sacrum to liver dome, and margin"
        if l4 := self._vertebra("vertebrae_L4", inside):
            return (l4.low, high), "lower end of L4 to liver dome, and margin"
        return None

    def _vertebra(self, name: str, inside: Span) -> _Profile | None:
        """Return a vertebra, unless it is taller than one can be or lies outside of a span."""
        spine = self._profile((name,), inside)
        if spine is None or (spine.high - spine.low) * self._spacing_mm > TALLEST_VERTEBRA_MM:
            return None
        return spine

    def _organ(self, names: tuple[str, ...]) -> _Profile | None:
        """Return an organ that is large enough."""
        organ = self._profile(names)
        if organ is None or organ.area_z.sum() * self._spacing_mm**3 / 1000 < self._config.min_organ_ml:
            return None
        return organ

    def _is_cut(self, organ: _Profile) -> bool:
        """Return whether the scan, air at its ends left out, ends within an organ."""
        body, area = self._boxes[BODY - 1], organ.area_z
        low, high = (body[0].start, body[0].stop) if body else (0, self._depth)
        return max(area[low], area[high - 1]) > self._config.max_cut * area.max()

    def _profile(self, names: tuple[str, ...], inside: Span | None = None) -> _Profile | None:
        """Return the pieces of a structure with their middle inside a span, without specks beside larger ones."""
        boxes = [box for label in ids(*names) if (box := self._boxes[label - 1])]
        if not boxes:
            return None
        box = tuple(slice(min(b[i].start for b in boxes), max(b[i].stop for b in boxes)) for i in range(3))
        pieces, count = ndimage.label(np.isin(self._labels[box], ids(*names)))
        areas = np.stack([np.bincount(plane.ravel(), minlength=count + 1)[1:] for plane in pieces])  # plane, piece
        low, high = inside or (0, self._depth)
        middles = box[0].start + (areas.cumsum(0) >= areas.sum(0) / 2).argmax(0)
        areas = areas[:, (low <= middles) & (middles <= high)]
        if not areas.size:
            return None
        sizes = areas.sum(0)
        area_z = np.zeros(self._depth, int)
        area_z[box[0]] = areas[:, sizes >= sizes.max() * SMALLEST_PIECE].sum(1)
        return _Profile(area_z)
