"""Anatomy masks that a user gives: read, and refused where they cannot be what a model expects."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.data import volumes
from meddiff.data.anatomy.labels import LABEL_COUNT
from meddiff.errors import CaseError


def read_mask(path: Path, spacing_mm: float) -> sitk.Image:
    """Return an anatomy mask as it lies in the file, uint8: TotalSegmentator's 1 to 117, the body 118.

    Args:
        path: NIfTI, NRRD or MHA.
        spacing_mm: what the model expects, along every axis.

    Raises:
        CaseError: no readable volume, no geometry, other labels, another spacing; the message is the reason.
    """
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
    found = image.GetSpacing()
    if max(abs(side - spacing_mm) for side in found) > volumes.SPACING_TOLERANCE_MM:
        raise CaseError(
            f"the spacing is {'x'.join(f'{side:g}' for side in found)} mm and the model's is {spacing_mm:g} mm; "
            f"resample the mask to {spacing_mm:g} mm"
        )
    return sitk.Cast(image, sitk.sitkUInt8)


def _has_geometry(path: Path, image: sitk.Image) -> bool:
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return any(image.GetMetaData(code) != "0" for code in ("qform_code", "sform_code"))
    return not name.endswith(".nrrd") or "NRRD_space" in image.GetMetaDataKeys()
