"""What lies inside the contours of an RTSTRUCT, on the slices of a scan."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meddiff.errors import CaseError
from meddiff.volumes.dicom.groups import POSITION_TOLERANCE_MM
from meddiff.volumes.geometry import Grid

# Choice: contours up to this many slices apart are neighbours, and stand for what lies between them.
NEXT_SLICES = 1.5
FLAT = 1e-3  # of a voxel: how far points of one plane may lie apart
XOR = "CLOSEDPLANAR_XOR"


@dataclass(frozen=True)
class Polygon:
    """A closed contour in a scan's indices: the axis (xyz) across its plane, where that lies, and its corners there."""

    axis: int
    place: float
    corners_xy: np.ndarray
    is_xor: bool


def polygons_of(contours: Sequence[Any], scan: Grid) -> list[Polygon]:
    """Return the closed contours of a region; points and open lines have no inside.

    Raises:
        CaseError: one lies on no slice of the scan.
    """
    found = []
    for contour in contours:
        points = scan.index_of(np.array(contour.get("ContourData") or (), float).reshape(-1, 3))
        kind = str(contour.get("ContourGeometricType", "CLOSED"))
        if len(points) < 3 or not kind.startswith("CLOSED"):
            continue
        extent = np.ptp(points, axis=0)
        axis = int(np.flatnonzero(extent < extent.min() + FLAT)[-1])  # of a line the one across the scan's slices
        place = float(points[:, axis].mean())
        if not 0 <= round(place) < scan.size_xyz[axis] or np.ptp(points[:, axis]) > 0.5:
            raise CaseError("a contour of the RTSTRUCT does not lie on a slice of the scan")
        found.append(Polygon(axis, place, np.delete(points, axis, axis=1), kind == XOR))
    return found


def inside_zyx(polygons: Sequence[Polygon], scan: Grid) -> np.ndarray:
    """Return where a scan's voxels have their centre inside of a region, bool.

    On each plane of contours, one inside another is a hole, those that overlap are one, and one that is there twice
    counts once. A slice takes the plane that is next to it, so contours may lie closer than the slices and beside them.

    Raises:
        CaseError: the planes leave out slices, so the contours were drawn on thicker ones.
    """
    mask_zyx = np.zeros(scan.size_xyz[::-1], bool)
    for axis in {polygon.axis for polygon in polygons}:
        across = [polygon for polygon in polygons if polygon.axis == axis]
        planes = _planes(across, POSITION_TOLERANCE_MM / float(scan.spacing_mm[axis]))
        slices = np.moveaxis(mask_zyx, 2 - axis, 0)
        for number, plane in _plane_of_slice(sorted(planes), len(slices)).items():
            slices[number] |= _fill(planes[plane], slices[number].shape)
    return mask_zyx


def _planes(polygons: list[Polygon], tolerance: float) -> dict[float, list[Polygon]]:
    planes: dict[float, list[Polygon]] = defaultdict(list)
    place = -np.inf
    for polygon in sorted(polygons, key=lambda polygon: polygon.place):
        place = polygon.place if polygon.place - place > tolerance else place
        planes[place].append(polygon)
    return planes


def _plane_of_slice(places: list[float], count: int) -> dict[int, float]:
    """Return which plane each slice takes: the next one, as far as half the way to where another one would be."""
    gaps = np.diff(places)
    if len(places) > 2 and gaps.min() > NEXT_SLICES:
        raise CaseError("the contours were drawn on another series: they leave out every other slice of the scan")
    # The way to the plane before and after each; where there is no neighbour, that to the one on the other side.
    ways = [[gap if gap <= NEXT_SLICES else None for gap in (before, after)] for before, after in _around(gaps)]
    taken = {}
    for number in range(count):
        nearest = int(np.abs(np.array(places) - number).argmin())
        offset = number - places[nearest]
        before, after = ways[nearest]
        reach = (after or before or 1.0) if offset > 0 else (before or after or 1.0)
        if -reach / 2 + 1e-6 < offset <= reach / 2 + 1e-6:
            taken[number] = places[nearest]
    return taken


def _around(gaps: np.ndarray) -> list[tuple[float, float]]:
    return list(zip([np.inf, *gaps], [*gaps, np.inf], strict=True))


def _fill(polygons: list[Polygon], shape_yx: tuple[int, ...]) -> np.ndarray:
    from skimage.draw import polygon2mask

    mask, seen = np.zeros(shape_yx, bool), []
    filled = [(polygon2mask(shape_yx, polygon.corners_xy[:, ::-1]), polygon.is_xor) for polygon in polygons]
    for area, is_xor in sorted(filled, key=lambda pair: -int(pair[0].sum())):  # holes after what they lie in
        if is_xor:
            mask ^= area
        elif not any(np.array_equal(area, other) for other in seen):
            mask = mask ^ area if not (area & ~mask).any() else mask | area
            seen.append(area)
    return mask
