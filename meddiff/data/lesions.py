"""Lesion labels of the downstream datasets: label maps, or contours of an RTSTRUCT in the scan's DICOM folder."""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.data import volumes
from meddiff.data.headers import labels_on_scan
from meddiff.errors import CaseError

ROI_KINDS = ("gtv", "lesion", "tumor", "tumour", "nodule")


def read_lesion(
    path: Path, values: tuple[int, ...], image: Path, grid: sitk.Image, on_scan_grid: bool = False
) -> np.ndarray:
    """Return where a scan has lesions, on another grid: uint8 0 or 1, `zyx`.

    Args:
        path: a label map, or the DICOM folder with the RTSTRUCT.
        values: labels that are lesions, none: all but 0; of no meaning for an RTSTRUCT, whose regions are named.
        image: the scan.
        grid: where the lesion is wanted.
        on_scan_grid: the voxels of a label map are those of the scan, whatever its header says.

    Raises:
        CaseError: no readable label, or one that does not lie where the scan lies.
    """
    if path.is_dir():
        labels = _from_contours(path, volumes.read_ct(image))
    else:
        labels = _from_label_map(labels_on_scan(path, volumes.read_ct(image)) if on_scan_grid else _read(path), values)
    lesion = volumes.to_zyx(sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    return lesion.astype(np.uint8)


def _read(path: Path) -> sitk.Image:
    return sitk.DICOMOrient(volumes.read_image(path), "LPS")


def _from_label_map(labels: sitk.Image, values: tuple[int, ...]) -> sitk.Image:
    labels_zyx = volumes.to_zyx(labels)
    return volumes.like((np.isin(labels_zyx, values) if values else labels_zyx > 0).astype(np.uint8), labels)


def _from_contours(folder: Path, ct: sitk.Image) -> sitk.Image:
    """Return the region inside the closed planar contours; one inside another is a hole."""
    mask_zyx = np.zeros(ct.GetSize()[::-1], np.uint8)
    for points_mm in _contours(_structure_set(folder)):
        points = np.array([ct.TransformPhysicalPointToContinuousIndex(p.tolist()) for p in points_mm])
        plane = round(points[:, 2].mean())
        if not 0 <= plane < len(mask_zyx) or np.ptp(points[:, 2]) > 0.5:
            raise CaseError("a contour of the RTSTRUCT does not lie on a slice of the scan")
        mask_zyx[plane] ^= _inside(points[:, :2], mask_zyx.shape[1:])
    if not mask_zyx.any():
        raise CaseError("the RTSTRUCT has no lesion contour")
    return volumes.like(mask_zyx, ct)


def _structure_set(folder: Path) -> Any:
    import pydicom

    for path in sorted(folder.iterdir()):
        tags = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if tags.get("Modality") == "RTSTRUCT":
            return tags
    raise CaseError("no RTSTRUCT in the DICOM folder")


def _contours(structure_set: Any) -> list[np.ndarray]:
    """Return the contours of the regions of interest that are lesions by their name, each (points, xyz) in mm."""
    names = {roi.ROINumber: roi.ROIName.lower() for roi in structure_set.StructureSetROISequence}
    wanted = {number for number, name in names.items() if any(kind in name for kind in ROI_KINDS)}
    return [
        np.array(contour.ContourData, float).reshape(-1, 3)
        for roi in structure_set.ROIContourSequence
        if roi.ReferencedROINumber in wanted
        for contour in roi.get("ContourSequence", [])
    ]


def _inside(points_xy: np.ndarray, shape_yx: tuple[int, ...]) -> np.ndarray:
    from skimage.draw import polygon2mask

    return polygon2mask(shape_yx, points_xy[:, ::-1]).astype(np.uint8)
