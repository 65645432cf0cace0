"""Anatomy masks that a user gives: read, and refused where they cannot be what a model expects."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.labels import LABEL_COUNT
from meddiff.errors import CaseError
from meddiff.volumes import volumes


def read_mask(path: Path, spacing_mm: float) -> sitk.Image:
    """Return an anatomy mask as it lies in the file, uint8: TotalSegmentator's 1 to 117, the body 118.

    Args:
        path: NIfTI, NRRD or MHA.
        spacing_mm: what the model expects, along every axis.

    Raises:
        CaseError: no readable volume, no geometry, other labels, another spacing; the message is the reason.
    """
    mask = _read_labels(path)
    found = mask.GetSpacing()
    if max(abs(side - spacing_mm) for side in found) > volumes.SPACING_TOLERANCE_MM:
        raise CaseError(
            f"the spacing is {'x'.join(f'{side:g}' for side in found)} mm and the model's is {spacing_mm:g} mm; "
            f"resample the mask to {spacing_mm:g} mm"
        )
    return mask


def read_mask_of(path: Path, scan: sitk.Image) -> sitk.Image:
    """Return the anatomy mask of a scan (LPS), on the scan's grid.

    Raises:
        CaseError: no readable volume, no geometry, other labels, another grid than the scan's.
    """
    mask = sitk.DICOMOrient(_read_labels(path), "LPS")
    same_size = mask.GetSize() == scan.GetSize()
    if not same_size or not np.allclose(_corners_mm(mask), _corners_mm(scan), atol=min(scan.GetSpacing()) / 2):
        raise CaseError("the mask has another geometry than the scan; resample it to the scan's grid")
    return volumes.like(volumes.to_zyx(mask), scan)


def _corners_mm(image: sitk.Image) -> np.ndarray:
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in image.GetSize()])).reshape(3, -1).T
    return np.array([image.TransformIndexToPhysicalPoint(end.tolist()) for end in ends])


def _read_labels(path: Path) -> sitk.Image:
    image = volumes.read_image(path)
    if not _has_geometry(path, image):
        raise CaseError("the file has no geometry (spacing, origin, directions); save the mask with that of its scan")
    values = np.unique(volumes.to_zyx(image))
    unknown = [f"{value:g}" for value in values if value not in range(LABEL_COUNT)]
    if unknown:
        raise CaseError(
            f"unknown labels {', '.join(unknown[:5])}; expected 0 to {LABEL_COUNT - 1}: TotalSegmentator's classes of "
            f"the task total, and {LABEL_COUNT - 1} for the rest of the body"
        )
    if not values.any():
        raise CaseError("the mask is empty")
    return sitk.Cast(image, sitk.sitkUInt8)


def _has_geometry(path: Path, image: sitk.Image) -> bool:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return any(image.GetMetaData(code) != "0" for code in ("qform_code", "sform_code"))
    return not name.endswith(".nrrd") or "NRRD_space" in image.GetMetaDataKeys()
