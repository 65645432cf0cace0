"""Which series of a DICOM folder is the CT, and its voxels."""

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.dicom.headers import ENHANCED, Plane, damage_means, modality_of, planes_of, read_headers, value_of
from meddiff.volumes.geometry import Grid

# Choice: positions are often rounded to a tenth of a millimetre; a slice may lie so far from where it should.
POSITION_TOLERANCE_MM = 0.1
# Choice: among the axial series that reach nearly as far as the longest one, the thinnest is read.
REACH = 0.8
_NO_VOLUME = {"LOCALIZER": "localizer", "SCOUT": "localizer", "MIP": "projection", "MINIP": "projection"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """The slices of a CT, in their order, and where they lie as acquired: sheared if the gantry was tilted."""

    number: str
    planes: list[Plane]
    grid: Grid

    @property
    def is_axial(self) -> bool:
        return abs(self.planes[0].normal[2]) > np.cos(np.pi / 4)

    @property
    def thickness_mm(self) -> float:
        """The distance between slices, or how thick they are where they overlap."""
        return max(self.spacing_mm, *(plane.thickness_mm for plane in self.planes))

    @property
    def spacing_mm(self) -> float:
        return float(self.grid.axes_mm[:, 2] @ self.planes[0].normal)

    @property
    def length_mm(self) -> float:
        return self.spacing_mm * len(self.planes)

    def __str__(self) -> str:
        plane = "axial" if self.is_axial else "not axial"
        return f"series {self.number} ({plane}, {len(self.planes)} slices, {self.spacing_mm:.2f} mm apart)"

    def hu_zyx(self, lowest: int) -> np.ndarray:
        """Return the voxels in HU, int16, rounded; what is below `lowest` or above the limit of int16 gets the limit.

        Raises:
            CaseError: a slice cannot be decoded.
        """
        out = np.empty(self.grid.size_xyz[::-1], np.int16)
        for number, plane in enumerate(self.planes):
            hu = plane.hu()
            out[number] = np.rint(np.clip(hu, lowest, np.iinfo(np.int16).max, out=hu), out=hu)
        return out


@dataclass(frozen=True)
class Choice:
    """The series of a folder that is read, and a reason for each that is not (no names, no identifiers)."""

    series: Series
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        return f"read {self.series}; left out: {'; '.join(self.left_out) or 'nothing'}"


def choose_series(folder: Path) -> Choice:
    """Return the CT of a DICOM folder: axial, thin, and of these the one with most slices.

    Files that are not DICOM are passed over. Slices of one series that differ in direction or size count as several
    series. A series that is no whole volume is left out if there is another one.

    Raises:
        CaseError: there is no CT; the message is the reason.
    """
    whole, left_out, reasons = [], [], []
    for (_, modality, fault, *_), headers in _groups(folder).items():
        number = value_of(headers[0], "SeriesNumber")
        number = str(number) if isinstance(number, int) else "without number"
        try:
            if modality != "CT" or fault:
                raise CaseError(fault or f"DICOM modality is {modality or 'not given'}, not CT")
            whole.append(_as_volume(number, [plane for header in headers for plane in planes_of(header)]))
        except CaseError as error:
            left_out.append(f"series {number} ({error})")
            reasons.append((modality == "CT", not fault, len(headers), str(error)))
    if not whole:
        raise CaseError(max(reasons)[-1])
    choice = _choose(whole, left_out)
    if choice.left_out:
        log.info("DICOM folder: %s", choice)
    return choice


def read_series(folder: Path, lowest: int) -> sitk.Image:
    """Return the CT of a DICOM folder, int16 HU, as acquired: sheared if the gantry was tilted; see `choose_series`."""
    series = choose_series(folder).series
    return series.grid.put_on(sitk.GetImageFromArray(series.hu_zyx(lowest)))


def _groups(folder: Path) -> dict[tuple[str, ...], list[Any]]:
    """Return the headers of a folder by series and by what `_kind` tells apart."""
    headers = read_headers(folder)
    if not headers:
        reason = "the folder is empty" if not any(folder.iterdir()) else "the folder holds no DICOM series"
        raise CaseError(reason)
    groups = defaultdict(list)
    for header in headers:
        groups[str(value_of(header, "SeriesInstanceUID")), *_kind(header)].append(header)
    return groups


def _as_volume(number: str, planes: list[Plane]) -> Series:
    first = planes[0]
    planes = sorted(planes, key=lambda plane: plane.position_mm @ first.normal)
    in_plane_mm = first.cosines[:3] * first.spacing_mm[1], first.cosines[3:] * first.spacing_mm[0]
    axes_mm = np.column_stack([*in_plane_mm, _step_mm(np.array([p.position_mm for p in planes]), first.normal)])
    size_xyz = (int(first.header.Columns), int(first.header.Rows), len(planes))
    return Series(number, planes, Grid(size_xyz, planes[0].position_mm, axes_mm))


def _step_mm(positions_mm: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the way from a slice to the next one, (xyz)."""
    if len(positions_mm) < 2:
        raise CaseError("a single slice")
    steps_mm = np.diff(positions_mm @ normal)
    if twice := int((steps_mm < POSITION_TOLERANCE_MM / 10).sum()):
        raise CaseError(f"duplicate slices: {twice} lie where another one lies")
    step_mm = (positions_mm[-1] - positions_mm[0]) / len(steps_mm)
    expected_mm = positions_mm[0] + np.outer(np.arange(len(positions_mm)), step_mm)
    if np.linalg.norm(positions_mm - expected_mm, axis=1).max() > POSITION_TOLERANCE_MM:
        what = "slices are missing" if steps_mm.max() > 1.5 * np.median(steps_mm) else "not a regular grid"
        raise CaseError(f"uneven slice spacing, {steps_mm.min():.2f} to {steps_mm.max():.2f} mm: {what}")
    return step_mm


def _choose(whole: list[Series], left_out: list[str]) -> Choice:
    axial = [series for series in whole if series.is_axial] or whole
    enough_mm = REACH * max(series.length_mm for series in axial)

    def rank(series: Series) -> tuple:
        return series.length_mm < enough_mm, round(series.thickness_mm, 2), -len(series.planes)

    best = min(axial, key=rank)
    return Choice(best, (*(str(series) for series in whole if series is not best), *left_out))


def _kind(header: Any) -> tuple[str, ...]:
    """Return the modality, what keeps it from being a volume, and what its slices have in common with their like."""
    words = str(value_of(header, "ImageType")).upper()
    fault = next((reason for word, reason in _NO_VOLUME.items() if re.search(rf"\b{word}\b", words)), "")
    fault = "colour pictures" if value_of(header, "SamplesPerPixel") not in (None, 1) else fault
    alone = header.filename if value_of(header, "SOPClassUID") in ENHANCED else ""
    size = [str(value_of(header, name)) for name in ("Rows", "Columns")]
    geometry = [_rounded(value_of(header, name)) for name in ("ImageOrientationPatient", "PixelSpacing")]
    return modality_of(header), fault, str(alone), *size, *geometry


def _rounded(numbers: Any) -> str:
    try:
        with damage_means("tags that are not numbers"):
            return str(np.round(np.array(numbers or [], float), 2) + 0.0)  # no -0
    except CaseError:  # planes_of says more
        return ""
