"""Labels of a DICOM series, as a SEG or an RTSTRUCT that refers to its slices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.derived.outlines import rtstruct_of
from meddiff.derived.segments import seg_of
from meddiff.derived.series import quiet, single_frames
from meddiff.errors import UserError
from meddiff.machine.extras import require
from meddiff.machine.files import temporary_beside
from meddiff.volumes.dicom.series import Series

SEG, RTSTRUCT = ".seg.dcm", ".rtstruct.dcm"
WRITERS = {SEG: seg_of, RTSTRUCT: rtstruct_of}
NEEDED = {SEG: "highdicom", RTSTRUCT: "skimage"}
# What the standard asks for, if empty, and de-identified series may lack.
OFTEN_LACKING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    "PositionReferenceIndicator",
)


def is_dicom_labels(path: Path) -> bool:
    """Return whether a file to write is to be a SEG or an RTSTRUCT, by its name."""
    return path.name.lower().endswith(tuple(WRITERS))


def check_labels_derivable(source: Path, out: Path) -> None:
    """Refuse what `write_dicom_labels` could not write, before long work begins.

    Raises:
        UserError: the source is a multi-frame file, or the extra `dicom` is not installed.
        CaseError: the source holds no CT.
    """
    require(_of_name(NEEDED, out))
    single_frames(source)


def write_dicom_labels(labels: sitk.Image, names: Mapping[int, str], source: Path, out: Path) -> None:
    """Write labels of a series as SEG or RTSTRUCT.

    Args:
        labels: numbers, 0 for nothing; brought to the voxels of the series, to the nearest.
        names: of the numbers; those that no voxel has are left out.
        source: the DICOM folder.
        out: ends in `.seg.dcm` or `.rtstruct.dcm`.

    Raises:
        UserError: the source is a multi-frame file, or there is no label.
        CaseError: there is no CT in the folder.
    """
    chosen = single_frames(source)
    grid = chosen.grid.put_on(sitk.Image(chosen.grid.size_xyz, sitk.sitkUInt8))
    labels_zyx = sitk.GetArrayFromImage(sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    found = {number: names[number] for number in np.unique(labels_zyx).tolist() if number}
    if not found:
        raise UserError(f"{out}: not written, for no voxel has a label, and there is no SEG or RTSTRUCT of nothing")
    write = _of_name(WRITERS, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), temporary_beside(out) as temporary:
        write(labels_zyx, found, _headers(chosen), chosen.grid).save_as(temporary, enforce_file_format=True)


def _of_name(choices: Mapping[str, Any], out: Path) -> Any:
    return next(choice for suffix, choice in choices.items() if out.name.lower().endswith(suffix))


def _headers(series: Series) -> list[Any]:
    """Return the tags of the slices but for their voxels, in the order of the voxels."""
    import pydicom

    headers = [pydicom.dcmread(plane.path, stop_before_pixels=True, force=True) for plane in series.planes]
    for header in headers:
        for name in OFTEN_LACKING:
            header.setdefault(name, "")
    return headers
