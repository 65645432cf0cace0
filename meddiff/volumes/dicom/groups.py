"""Which slices of a DICOM folder belong together, and which of a chosen series are missing."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from meddiff.errors import CaseError
from meddiff.volumes.dicom.headers import (
    CT_IMAGES,
    ENHANCED,
    Plane,
    damage_means,
    is_capture,
    modality_of,
    planes_of,
    unit_of,
    value_of,
)

# Choice: positions are often rounded to a tenth of a millimetre; a slice may lie so far from where it should.
POSITION_TOLERANCE_MM = 0.1
# Choice: directions and pixel sizes are the same where they move no corner of a slice by a pixel; exporters write them
# with other last decimals from slice to slice.
SAME_CORNER_PIXELS = 1.0
UNREADABLE = "files are cut off, empty or links to nothing"
_NO_VOLUME = {
    **{"LOCALIZER": "localizer", "SCOUT": "localizer", "MIP": "projection", "MINIP": "projection"},
    "SCREEN SAVE": "screen capture",
}
# RescaleType of maps of densities, iodine and atomic numbers; others say HU, or nothing.
_NO_HU = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")


@dataclass(frozen=True)
class Group:
    """The headers of slices that may be one volume; `fault` says what they show instead, such as a localizer."""

    uid: str
    modality: str
    fault: str
    headers: list[Any]

    @property
    def refusal(self) -> str:
        """Why they are no volume of CT, empty where they may be."""
        if self.fault:
            return self.fault
        if self.modality == "CT":
            return self._missing_rescale
        if not self.modality:
            return "DICOM modality is not given, not CT; write it into the files"
        return f"DICOM modality is {self.modality}, not CT"

    @property
    def is_capture(self) -> bool:
        return is_capture(self.headers[0])

    @property
    def _missing_rescale(self) -> str:
        intercepts = [value_of(header, "RescaleIntercept") for header in self.headers]
        without = sum(intercept in (None, "") for intercept in intercepts)
        if not without or not any(intercepts):
            return ""
        return f"{without} of {len(intercepts)} slices have no RescaleIntercept, so that their HU are not known"

    @property
    def number(self) -> str:
        number = value_of(self.headers[0], "SeriesNumber")
        return str(number) if isinstance(number, int) else "without number"


def groups_of(headers: list[Any]) -> list[Group]:
    """Return the headers of a folder by series and kind, size, direction and pixel size; each multi-frame file alone,
    but for the parts of a concatenation."""
    kinds = defaultdict(list)
    for header in headers:
        kinds[_kind(header)].append(header)
    return [
        Group(uid, modality, fault, alike)
        for (uid, modality, fault, *_), members in kinds.items()
        for alike in _by_geometry(members)
    ]


def missing_slices(planes: list[Plane], group: Group, groups: list[Group], unreadable: int) -> str:
    """Return in words how many slices of a series are not among those that were chosen, empty for none.

    A slice is missing where no chosen one lies: localizers, captures in another plane and other reconstructions of the
    same slices are not. Of a file that cannot be read nothing is known, so it counts.
    """
    places_mm = np.array([plane.position_mm @ planes[0].normal for plane in planes])

    def is_missing(plane: Plane) -> bool:
        parallel = abs(plane.normal @ planes[0].normal) > np.cos(np.pi / 4)
        return parallel and np.abs(places_mm - plane.position_mm @ planes[0].normal).min() > POSITION_TOLERANCE_MM

    others = [
        other
        for other in groups
        if other is not group and other.uid == group.uid and other.modality in ("CT", "") and not other.fault
    ]
    apart = sum(_count(header, is_missing) for other in others for header in other.headers)
    reasons = [f"{apart} have another direction, pixel size, size or file"] if apart else []
    reasons += [f"{unreadable} {UNREADABLE}"] if unreadable else []
    return f"slices of the series are missing ({' and '.join(reasons)})" if reasons else ""


def _count(header: Any, is_missing: Callable[[Plane], bool]) -> int:
    try:
        return sum(map(is_missing, planes_of(header)))
    except CaseError:  # a slice without a place, or a report or the like
        return int(value_of(header, "SOPClassUID") in CT_IMAGES)


def _kind(header: Any) -> tuple[str, ...]:
    """Return series, modality, what it shows instead of a volume, and what slices of a volume have in common."""
    words = str(value_of(header, "ImageType")).upper()
    fault = next((reason for word, reason in _NO_VOLUME.items() if re.search(rf"\b{word}\b", words)), "")
    fault = f"values in {unit_of(header)}, not HU" if unit_of(header) in _NO_HU else fault
    fault = "colour pictures" if value_of(header, "SamplesPerPixel") not in (None, 1) else fault
    enhanced = value_of(header, "SOPClassUID") in ENHANCED
    alone = value_of(header, "ConcatenationUID") or header.filename if enhanced else ""
    size = [str(value_of(header, name)) for name in ("Rows", "Columns")]
    return (
        str(value_of(header, "SeriesInstanceUID")),
        modality_of(header),
        fault,
        str(alone),
        str(is_capture(header)),
        *size,
    )


def _by_geometry(headers: list[Any]) -> list[list[Any]]:
    """Return headers of one size by where the corners of a slice lie, as seen from its first voxel."""
    groups: list[tuple[np.ndarray | None, list[Any]]] = []
    for header in headers:
        corners_mm = _corners_mm(header)
        alike = (members for known_mm, members in groups if _same(known_mm, corners_mm, header))
        if (members := next(alike, None)) is None:
            groups.append((corners_mm, [header]))
        else:
            members.append(header)
    return [members for _, members in groups]


def _same(known_mm: np.ndarray | None, corners_mm: np.ndarray | None, header: Any) -> bool:
    if known_mm is None or corners_mm is None:
        return known_mm is corners_mm
    apart_mm = np.linalg.norm(known_mm - corners_mm, axis=1).max()
    return bool(apart_mm < SAME_CORNER_PIXELS * min(map(float, header.PixelSpacing)))


def _corners_mm(header: Any) -> np.ndarray | None:
    """Return three corners of a slice, (3, xyz); None where its header does not tell, as in multi-frame files."""
    try:
        with damage_means("no geometry"):
            cosines = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
            pixel_mm = np.array(header.PixelSpacing, float).reshape(2)
            edges_mm = cosines * (pixel_mm[::-1] * (float(header.Columns), float(header.Rows)))[:, None]
    except CaseError:  # planes_of says more
        return None
    return np.array([*edges_mm, edges_mm.sum(axis=0)]) if np.isfinite(edges_mm).all() else None
