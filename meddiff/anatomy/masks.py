"""Anatomy masks that a user gives: read, and refused where they cannot be what a model expects."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.labels import BODY, LABEL_COUNT
from meddiff.errors import CaseError
from meddiff.volumes import volumes
from meddiff.volumes.files import read_file_grid
from meddiff.volumes.geometry import Grid

ROUNDING = 0.01  # of labels that were stored with a slope


def read_mask(path: Path, spacing_mm: float) -> sitk.Image:
    """Return an anatomy mask that has no scan, uint8: TotalSegmentator's 1 to 117, the body 118.

    It lies as in its file, but without the shear of a tilted gantry.

    Args:
        path: NIfTI, NRRD or MHA.
        spacing_mm: what the model expects, along every axis.

    Raises:
        CaseError: no readable volume, no geometry, other labels, no body, another spacing; the message is the reason.
    """
    mask = _read_labels(path)
    found = mask.GetSpacing()
    if max(abs(side - spacing_mm) for side in found) > volumes.SPACING_TOLERANCE_MM:
        raise CaseError(
            f"the spacing is {'x'.join(f'{side:g}' for side in found)} mm and the model's is {spacing_mm:g} mm; "
            f"resample the mask to {spacing_mm:g} mm"
        )
    if not has_body(volumes.to_zyx(mask)):
        raise CaseError(
            f"no voxel has the label {BODY}, the rest of the body, without which a scan has no muscle, fat and skin; "
            f"TotalSegmentator's task `body` finds it: write {BODY} where it does and no other label is"
        )
    own_grid = read_file_grid(path)
    return mask if own_grid.is_sheared() else own_grid.put_on(mask)


def read_mask_of(path: Path, scan: sitk.Image) -> sitk.Image:
    """Return the anatomy mask of a scan (as `volumes.read_ct` gives it), on the scan's grid; it may lack the body.

    Raises:
        CaseError: no readable volume, no geometry, other labels, another grid than the scan's.
    """
    mask = _read_labels(path)
    volumes.refuse_other_voxels(mask, Grid.of(scan))
    return sitk.Resample(mask, scan, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def has_body(labels_zyx: np.ndarray) -> bool:
    """Return whether the rest of the body is labelled, which TotalSegmentator's own masks lack."""
    return bool((labels_zyx == BODY).any())


def _read_labels(path: Path) -> sitk.Image:
    image = volumes.read_upright_labels(path)
    values = np.unique(sitk.GetArrayViewFromImage(image))
    if not np.isfinite(values).all():
        raise CaseError("labels that are not finite numbers")
    unknown = [f"{value:g}" for value in values if not _is_label(value)]
    if unknown:
        raise CaseError(
            f"unknown labels {', '.join(unknown[:5])}; expected 0 to {LABEL_COUNT - 1}: TotalSegmentator's classes of "
            f"the task total, and {LABEL_COUNT - 1} for the rest of the body"
        )
    labels_zyx = np.rint(sitk.GetArrayViewFromImage(image)).astype(np.uint8)
    if not labels_zyx.any():
        raise CaseError("the mask is empty")
    return volumes.like(labels_zyx, image)


def _is_label(value: float) -> bool:
    return abs(value - round(value)) < ROUNDING and 0 <= round(value) < LABEL_COUNT
