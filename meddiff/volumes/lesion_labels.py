"""Lesion labels of the downstream datasets: label maps, or what an RTSTRUCT or SEG calls a lesion."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.machine.notes import note
from meddiff.volumes import volumes
from meddiff.volumes.ct_rate import labels_on_scan
from meddiff.volumes.dicom.labels import find_label_file, label_names, read_dicom_labels
from meddiff.volumes.geometry import Grid
from meddiff.volumes.lesion_checks import refuse_implausible_hu, refuse_mirrored
from meddiff.volumes.lesion_names import lesions_among


def read_lesion(
    path: Path,
    values: tuple[int, ...],
    image: Path,
    grid: sitk.Image,
    on_scan_grid: bool = False,
    expected_hu: tuple[float, ...] = (),
) -> np.ndarray:
    """Return where a scan has lesions, on another grid: uint8 0 or 1, `zyx`.

    Args:
        path: a label map, an RTSTRUCT or SEG, or the DICOM folder with one of these two.
        values: labels that are lesions, none: all but 0; of no meaning in DICOM, where regions and segments have names.
        image: the scan.
        grid: the scan where the lesion is wanted, in HU.
        on_scan_grid: the voxels of a label map are those of the scan, whatever its header says.
        expected_hu: the range in which the median under the labels lies; empty where none is known.

    Raises:
        CaseError: no readable label, or one that does not lie where the scan lies, or not on lesions.
    """
    scan = volumes.read_grid(image)
    if volumes.is_volume_file(path):
        labels = _on_scan(path, image, values, expected_hu) if on_scan_grid else volumes.read_label_map(path, scan)
    else:
        labels, values = _dicom_lesions(path, scan), ()
    lesion = volumes.like(_lesions(labels, values), labels)
    lesion_zyx = volumes.to_zyx(sitk.Resample(lesion, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    if expected_hu:
        refuse_implausible_hu(lesion_zyx, volumes.to_zyx(grid), expected_hu)
    return lesion_zyx


def read_own_lesion(path: Path, scan: Grid, grid: sitk.Image) -> np.ndarray:
    """Return where a user's mask has the lesion, on another grid, bool `zyx`; its voxels may be others than the scan's.

    Args:
        path: a label map, of which every value but 0 is the lesion, or an RTSTRUCT or SEG, or the folder with it.
        scan: where an RTSTRUCT or SEG must lie, without the shear of a tilted gantry.
        grid: where the lesion is wanted.

    Raises:
        CaseError: no readable mask, an empty one, or one that does not reach the grid.
    """
    if volumes.is_volume_file(path):
        labels = volumes.read_upright_labels(path)
    else:
        labels = _dicom_lesions(path, scan)
    mask = volumes.like((np.rint(sitk.GetArrayViewFromImage(labels)) != 0).astype(np.uint8), labels)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise CaseError("the mask is empty")
    lesion_zyx = volumes.to_zyx(sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)) > 0
    if not lesion_zyx.any():
        raise CaseError("none of it lies in the region that is worked on, or it is smaller than a voxel there")
    return lesion_zyx


def _dicom_lesions(path: Path, scan: Grid) -> sitk.Image:
    """Return what a RTSTRUCT or SEG calls a lesion, numbered from 1."""
    file = find_label_file(path)
    known = label_names(file)
    names, alike = lesions_among(known)
    if alike:
        note(f"lesion: {len(names)} of {len(known)} regions ({', '.join(names)}); left out: {', '.join(alike)}")
    return read_dicom_labels(file, scan, names)


def _on_scan(path: Path, image: Path, values: tuple[int, ...], expected_hu: tuple[float, ...]) -> sitk.Image:
    """Return labels that are laid on their scan by the order of voxels alone; so the scan must confirm the order."""
    ct = volumes.read_ct(image, allow_missing=True)  # whether slices may be missing was asked when it was prepared
    labels = labels_on_scan(path, ct)
    if expected_hu:
        refuse_mirrored(_lesions(labels, values), volumes.to_zyx(ct), expected_hu)
    return labels


def _lesions(labels: sitk.Image, values: tuple[int, ...]) -> np.ndarray:
    """Return 1 where a label is that of a lesion, uint8 `zyx`."""
    labels_zyx = volumes.to_zyx(labels)
    return (np.isin(labels_zyx, values) if values else labels_zyx > 0).astype(np.uint8)
