"""Anatomy masks that a user gives: read, and refused where they cannot be what a model expects."""

import logging

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.body import add_body
from meddiff.anatomy.labels import BODY, OUTSIDE
from meddiff.anatomy.numbering import IDS, MaskFile, names_in_file, names_of_version
from meddiff.anatomy.structures import is_structure_folder, listed, read_structure_files, read_structure_regions
from meddiff.errors import CaseError
from meddiff.volumes import volumes
from meddiff.volumes.files import read_file_grid
from meddiff.volumes.geometry import Grid
from meddiff.volumes.resample import isotropic_grid

log = logging.getLogger(__name__)

ROUNDING = 0.01  # of labels that were stored with a slope
# Choice: a mask of TotalSegmentator has more in any region; with fewer, and without the body, they were chosen.
FEWEST_CLASSES = 10
LEAST_INSIDE = 0.9  # Choice: of a mask's structures, in the body of its scan


def read_mask(file: MaskFile, spacing_mm: float) -> sitk.Image:
    """Return an anatomy mask that has no scan, uint8: TotalSegmentator's 1 to 117, the body 118.

    With the model's spacing it lies as in its file, but without the shear of a tilted gantry; else on axes of LPS.

    Args:
        file: the mask.
        spacing_mm: what the model expects, along every axis.

    Raises:
        CaseError: no readable labels, no geometry, other labels, no body; the message is the reason.
    """
    mask, taken = _read_labels(file, None)
    if not has_body(sitk.GetArrayViewFromImage(mask)):
        raise CaseError(
            f"no voxel has the label {BODY}, the rest of the body, without which a scan has no muscle, fat and skin; "
            f"TotalSegmentator's task `body` finds it: write {BODY} where it does and no other label is, or, in a "
            "folder of structures, put it in as body.nii.gz"
        )
    log.info(taken)
    if any(abs(side - spacing_mm) > volumes.SPACING_TOLERANCE_MM for side in mask.GetSpacing()):
        log.info("the mask has voxels of %s mm; brought to the model's %g mm", _sides(mask), spacing_mm)
        return _nearest(mask, isotropic_grid(mask, spacing_mm))
    own_grid = read_file_grid(file.path) if volumes.is_volume_file(file.path) else Grid.of(mask)
    return mask if own_grid.is_sheared() else own_grid.put_on(mask)


def read_mask_of(file: MaskFile, scan: Grid, ct: sitk.Image, body_zyx: np.ndarray) -> np.ndarray:
    """Return the anatomy of a scan by its mask, uint8 `zyx`; it may lack the body.

    A mask with a body that ends before the scan does gets the rest of the body there.

    Args:
        file: the mask; its voxels may be others than the scan's.
        scan: where the scan's voxels lie, upright.
        ct: the scan on the grid where the labels are wanted.
        body_zyx: the body on this grid, bool.

    Raises:
        CaseError: no readable labels, no geometry, other labels, or labels that do not lie in this scan's body.
    """
    mask, taken = _read_labels(file, scan)
    log.info(taken)
    labels_zyx = volumes.to_zyx(_nearest(mask, ct))
    if Grid.of(mask).equals(scan):
        return labels_zyx
    log.info("the mask has other voxels than the scan, of %s mm; brought to the scan", _sides(mask))
    _refuse_elsewhere(mask, volumes.like(labels_zyx * body_zyx, ct))
    in_mask_zyx = volumes.to_zyx(_nearest(mask * 0 + 1, ct)) > 0
    return add_body(labels_zyx, body_zyx & ~in_mask_zyx) if has_body(labels_zyx) else labels_zyx


def has_few_structures(labels_zyx: np.ndarray) -> bool:
    """Return whether a mask shows chosen structures only: without a body, and fewer than any region has."""
    return not has_body(labels_zyx) and len(np.setdiff1d(labels_zyx, [OUTSIDE])) < FEWEST_CLASSES


def upright_labels(mask: sitk.Image) -> np.ndarray:
    """Return a mask's label ids, uint8 `zyx`, from below upwards."""
    return volumes.to_zyx(sitk.DICOMOrient(mask, "LPS"))


def has_body(labels_zyx: np.ndarray) -> bool:
    """Return whether the rest of the body is labelled, which TotalSegmentator's own masks lack."""
    return bool((labels_zyx == BODY).any())


def _nearest(mask: sitk.Image, grid: sitk.Image) -> sitk.Image:
    return sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, OUTSIDE)


def _refuse_elsewhere(mask: sitk.Image, inside: sitk.Image) -> None:
    """Check that the structures of a mask with voxels of its own lie in the scan's body."""
    own_ml, inside_ml = (_structures_ml(image) for image in (mask, inside))
    if inside_ml < LEAST_INSIDE * own_ml:
        raise CaseError(
            f"{inside_ml / own_ml:.0%} of its structures lie in the body of the scan: a mask of another scan, or with "
            "another geometry in its header"
        )


def _structures_ml(labels: sitk.Image) -> float:
    labels_zyx = sitk.GetArrayViewFromImage(labels)
    return np.count_nonzero((labels_zyx > OUTSIDE) & (labels_zyx < BODY)) * float(np.prod(labels.GetSpacing())) / 1000


def _sides(image: sitk.Image) -> str:
    return "x".join(f"{side:g}" for side in image.GetSpacing())


def _read_labels(file: MaskFile, scan: Grid | None) -> tuple[sitk.Image, str]:
    """Return the ids, uint8, and for what the labels were taken."""
    if volumes.is_volume_file(file.path):
        return _read_label_map(file)
    if is_structure_folder(file.path):
        labels, taken = read_structure_files(file.path)
    else:
        labels, taken = read_structure_regions(file.path, scan)
    if not sitk.GetArrayViewFromImage(labels).any():
        raise CaseError("the mask is empty")
    return labels, taken


def _read_label_map(file: MaskFile) -> tuple[sitk.Image, str]:
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
    taken = f"the mask names its labels itself: {_of_numbers(present)}"
    if not named:
        advice = "of another version? --anatomy-version"
        taken = f"labels of the mask are taken as TotalSegmentator {file.version}'s: {_of_numbers(present)}; {advice}"
    return volumes.like(ids[np.rint(values_zyx).astype(np.uint8)], image), taken


def _is_label(value: float, names: dict[int, str]) -> bool:
    return abs(value - round(value)) < ROUNDING and (round(value) in (OUTSIDE, BODY) or round(value) in names)


def _ids(names: dict[int, str]) -> np.ndarray:
    """Return the id that each number stands for, (256,) uint8; of a class that no id has, that of the rest of the body.

    Where the mask has no body, such a class is left out, and added with it.
    """
    if not any(name in IDS for name in names.values()):
        raise CaseError(
            f"its header calls the labels {_of_numbers(names)}: no classes of TotalSegmentator's task total"
        )
    ids = np.zeros(256, np.uint8)
    for number, name in names.items():
        ids[number] = IDS.get(name, BODY if "body" in names.values() else OUTSIDE)
    return ids


def _of_numbers(names: dict[int, str]) -> str:
    return listed(f"{number} {name}" for number, name in names.items())
