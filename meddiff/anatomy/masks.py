"""Anatomy masks that a user gives: read, and refused where they cannot be what a model expects."""

import logging

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.labels import BODY, OUTSIDE
from meddiff.anatomy.numbering import IDS, MaskFile, names_in_file, names_of_version
from meddiff.errors import CaseError
from meddiff.volumes import volumes
from meddiff.volumes.files import read_file_grid
from meddiff.volumes.geometry import Grid

log = logging.getLogger(__name__)

ROUNDING = 0.01  # of labels that were stored with a slope
SHOWN = 4


def read_mask(file: MaskFile, spacing_mm: float) -> sitk.Image:
    """Return an anatomy mask that has no scan, uint8: TotalSegmentator's 1 to 117, the body 118.

    It lies as in its file, but without the shear of a tilted gantry.

    Args:
        file: NIfTI, NRRD or MHA.
        spacing_mm: what the model expects, along every axis.

    Raises:
        CaseError: no readable volume, no geometry, other labels, no body, another spacing; the message is the reason.
    """
    mask, taken = _read_labels(file)
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
    log.info(taken)
    own_grid = read_file_grid(file.path)
    return mask if own_grid.is_sheared() else own_grid.put_on(mask)


def read_mask_of(file: MaskFile, scan: sitk.Image) -> sitk.Image:
    """Return the anatomy mask of a scan (as `volumes.read_ct` gives it), on the scan's grid; it may lack the body.

    Raises:
        CaseError: no readable volume, no geometry, other labels, another grid than the scan's.
    """
    mask, taken = _read_labels(file)
    volumes.refuse_other_voxels(mask, Grid.of(scan))
    log.info(taken)
    return sitk.Resample(mask, scan, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def has_body(labels_zyx: np.ndarray) -> bool:
    """Return whether the rest of the body is labelled, which TotalSegmentator's own masks lack."""
    return bool((labels_zyx == BODY).any())


def _read_labels(file: MaskFile) -> tuple[sitk.Image, str]:
    """Return the labels, and for what they were taken."""
    image = volumes.read_upright_labels(file.path)
    values_zyx = sitk.GetArrayViewFromImage(image)
    found = np.unique(values_zyx)
    if not np.isfinite(found).all():
        raise CaseError("labels that are not finite numbers")
    named = names_in_file(file.path)
    names = named or names_of_version(file.version)
    unknown = [f"{value:g}" for value in found if not _is_label(value, names)]
    if unknown:
        raise CaseError(
            f"unknown labels {', '.join(unknown[:5])}; expected {OUTSIDE} to {BODY}: TotalSegmentator's classes of "
            f"the task total, and {BODY} for the rest of the body"
        )
    present = {number: names.get(number, "body") for number in sorted({round(float(v)) for v in found} - {OUTSIDE})}
    if not present:
        raise CaseError("the mask is empty")
    ids = _ids(present)
    taken = f"the mask names its labels itself: {_listed(present)}"
    if not named:
        advice = "of another version? --anatomy-version"
        taken = f"labels of the mask are taken as TotalSegmentator {file.version}'s: {_listed(present)}; {advice}"
    return volumes.like(ids[np.rint(values_zyx).astype(np.uint8)], image), taken


def _is_label(value: float, names: dict[int, str]) -> bool:
    return abs(value - round(value)) < ROUNDING and (round(value) in (OUTSIDE, BODY) or round(value) in names)


def _ids(names: dict[int, str]) -> np.ndarray:
    """Return the id that each number stands for, (256,) uint8; of a class that no id has, that of the rest of the body.

    Where the mask has no body, such a class is left out, and added with it.
    """
    if not any(name in IDS for name in names.values()):
        raise CaseError(f"its header calls the labels {_listed(names)}: no classes of TotalSegmentator's task total")
    ids = np.zeros(256, np.uint8)
    for number, name in names.items():
        ids[number] = IDS.get(name, BODY if "body" in names.values() else OUTSIDE)
    return ids


def _listed(names: dict[int, str]) -> str:
    first = ", ".join(f"{number} {name}" for number, name in list(names.items())[:SHOWN])
    return first + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
