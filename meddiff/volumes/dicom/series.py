"""Which series of a DICOM folder is the CT, and its voxels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.machine.notes import note
from meddiff.volumes.dicom.groups import POSITION_TOLERANCE_MM, UNREADABLE, Group, groups_of, missing_slices
from meddiff.volumes.dicom.headers import Plane, is_dicom, planes_of, read_headers
from meddiff.volumes.geometry import Grid

# Choice: among the axial series that reach nearly as far as the longest one, the thinnest is read.
REACH = 0.8
DEEPEST = 4  # levels of folders below a case that are looked into for its slices


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
    """The series of a folder that is read, and a reason for each that is not (no names, no identifiers).

    `missing` says of slices that belong to the series and are not read how many they are and why; empty for none.
    """

    series: Series
    left_out: tuple[str, ...]
    missing: str

    def __str__(self) -> str:
        return f"read {self.series}; left out: {'; '.join(self.left_out) or 'nothing'}"


def choose_series(folder: Path) -> Choice:
    """Return the CT of a DICOM folder: axial, thin, and of these the one with most slices.

    Files that are not DICOM are passed over. Slices of one series that differ in direction or size count as several
    series. A series that is no whole volume is left out if there is another one.

    Raises:
        CaseError: there is no CT; the message is the reason.
    """
    files = read_headers(folder)
    if not files.headers:
        raise CaseError(_why_nothing(folder, files.unreadable))
    groups = groups_of(files.headers)
    whole, left_out, reasons = [], [], []
    for group in groups:
        try:
            if group.refusal:
                raise CaseError(group.refusal)
            planes = [plane for header in group.headers for plane in planes_of(header)]
            whole.append((_as_volume(group.number, planes), group))
        except CaseError as error:
            left_out.append(f"series {group.number} ({error})")
            reasons.append((group.modality == "CT", not group.fault, len(group.headers), str(error)))
    if not whole:
        beside = f"; {files.unreadable} {UNREADABLE}" if files.unreadable else ""
        raise CaseError(_why_none_is_whole(groups, max(reasons)[-1]) + beside)
    best, group = _choose(whole)
    left_out = [str(series) for series, _ in whole if series is not best] + left_out
    left_out += [f"{files.others} files that are no DICOM"] if files.others else []
    missing = missing_slices(best.planes, group, groups, files.unreadable)
    return Choice(best, (*left_out, *([missing] if missing else [])), missing)


def read_series(folder: Path, lowest: int, allow_missing: bool = False) -> sitk.Image:
    """Return the CT of a DICOM folder, int16 HU, as acquired: sheared if the gantry was tilted; see `choose_series`.

    Raises:
        CaseError: there is no CT, or slices of it are not read and `allow_missing` is not set.
    """
    choice = choose_series(folder)
    if choice.missing and not allow_missing:
        raise CaseError(f"{choice.missing}: mend them, or set data.allow_missing_slices to do without")
    if choice.left_out:
        note(f"DICOM folder: {choice}")
    return choice.series.grid.put_on(sitk.GetImageFromArray(choice.series.hu_zyx(lowest)))


def _why_nothing(folder: Path, unreadable: int) -> str:
    """Return why a folder has no series, and what to mend."""
    if unreadable:
        return f"the folder holds no DICOM series; {unreadable} {UNREADABLE}"
    entries = list(folder.iterdir())
    level = [entry for entry in entries if entry.is_dir()]
    for depth in range(1, DEEPEST + 1):
        files = [path for inner in level for path in inner.iterdir()]
        if any(is_dicom(path) for path in files):
            return f"the folder's DICOM series lie {depth} levels deeper: add {'/*' * depth} to the dataset's `image`"
        level = [path for path in files if path.is_dir()]
    return "the folder holds no DICOM series" if entries else "the folder is empty"


def _why_none_is_whole(groups: list[Group], reason: str) -> str:
    series = {group.uid for group in groups if not group.refusal}
    slices = sum(len(group.headers) for group in groups if group.uid in series)
    if len(series) == slices > 2:
        return f"each of the {slices} slices has a SeriesInstanceUID of its own: give those of a scan the same one"
    return reason


def _as_volume(number: str, planes: list[Plane]) -> Series:
    normal = planes[0].normal
    planes = sorted(planes, key=lambda plane: plane.position_mm @ normal)
    first = planes[0]  # of the lowest slice, whatever the files are called
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
        what = (
            "slices are missing"
            if steps_mm.max() > 1.5 * np.sort(steps_mm)[(len(steps_mm) - 1) // 2]
            else "not a regular grid"
        )
        raise CaseError(f"uneven slice spacing, {steps_mm.min():.2f} to {steps_mm.max():.2f} mm: {what}")
    return step_mm


def _choose(whole: list[tuple[Series, Group]]) -> tuple[Series, Group]:
    axial = [(series, group) for series, group in whole if series.is_axial] or whole
    enough_mm = REACH * max(series.length_mm for series, _ in axial)

    def rank(candidate: tuple[Series, Group]) -> tuple:
        series, group = candidate
        return group.is_capture, series.length_mm < enough_mm, round(series.thickness_mm, 2), -len(series.planes)

    return min(axial, key=rank)
