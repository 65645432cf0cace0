"""Labels in DICOM: the contours of an RTSTRUCT and the segments of a SEG, on the grid of their scan."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.machine.extras import require
from meddiff.machine.notes import note
from meddiff.volumes.dicom.contours import inside_zyx, polygons_of
from meddiff.volumes.dicom.headers import bounded, damage_means, modality_of, read_header
from meddiff.volumes.geometry import Grid

MODALITIES = ("RTSTRUCT", "SEG")


def read_dicom_labels(path: Path, scan: Grid | None, names: Sequence[str] = ()) -> sitk.Image:
    """Return the labels of a DICOM file, or of the one such file in a folder, uint8.

    Args:
        path: an RTSTRUCT or SEG, or a folder that may hold the scan, too.
        scan: where the labels must lie; none: where a SEG has its voxels.
        names: which regions or segments (in any case of letters) become 1, 2, ...; by default all, as the file has
            them. Where two overlap, the later one is seen.

    Raises:
        CaseError: no labels, a name that the file does not have, labels that do not lie on the scan's voxels.
        UserError: the extra `dicom` is not installed.
    """
    file = find_label_file(path)
    known = label_names(file)
    wanted = list(dict.fromkeys(name.lower() for name in names or known))
    if missing := sorted(set(wanted) - {name.lower() for name in known}):
        raise CaseError(f"the {_modality(file)} has no region named {', '.join(missing)}")
    if len(wanted) > 255:
        raise CaseError(f"{len(wanted)} regions; at most 255 fit into a label map")
    if _modality(file) == "SEG":
        require("highdicom")
        return _read_segments(file, scan, wanted)
    require("skimage")
    if scan is None:
        raise CaseError("an RTSTRUCT has outlines on the slices of its scan and no voxels; give a SEG or a label map")
    with damage_means("the RTSTRUCT is damaged"):
        return _read_contours(file, scan, wanted)


def find_label_file(path: Path) -> Path:
    """Return a path itself if it is a file, else the RTSTRUCT of the folder, or the SEG where there is none.

    Raises:
        CaseError: none, or more than one.
    """
    if not path.is_dir():
        return path
    of_modality = {file: _modality(file) for file in sorted(path.iterdir())}
    for modality in MODALITIES:
        found = [file for file, found in of_modality.items() if found == modality]
        if len(found) > 1:
            raise CaseError(f"{len(found)} files of modality {modality} in the DICOM folder; expected one")
        if found:
            return found[0]
    raise CaseError("no RTSTRUCT or SEG in the DICOM folder")


def label_names(file: Path) -> list[str]:
    """Return the names of the regions of interest or segments of a DICOM file, in its order.

    Raises:
        CaseError: the file is neither RTSTRUCT nor SEG.
    """
    tags = _read(file, "StructureSetROISequence", "SegmentSequence")
    with damage_means(f"the {tags.Modality} is damaged"):
        if tags.Modality == "RTSTRUCT":
            return [str(roi.get("ROIName", "")) for roi in tags.get("StructureSetROISequence", ())]
        segments = tags.get("SegmentSequence", ())  # a label map describes its background, too, as number 0
        return [str(segment.get("SegmentLabel", "")) for segment in segments if segment.get("SegmentNumber") != 0]


def _read(file: Path, *tags: str) -> Any:
    if not file.exists():
        raise CaseError("no such file")
    header = read_header(file, ("Modality", *tags))
    if header is None or modality_of(header) not in MODALITIES:
        raise CaseError("no label map, RTSTRUCT or SEG")
    return header


def _modality(file: Path) -> str:
    header = read_header(file, ("Modality",))
    return "" if header is None else modality_of(header)


def _read_contours(file: Path, scan: Grid, wanted: list[str]) -> sitk.Image:
    tags = _read(file, "StructureSetROISequence", "ROIContourSequence")
    name_of = {roi.ROINumber: str(roi.get("ROIName", "")).lower() for roi in tags.get("StructureSetROISequence", ())}
    labels_zyx = np.zeros(scan.size_xyz[::-1], np.uint8)
    without, too_small = [], []
    for label, name in enumerate(wanted, start=1):
        rois = [roi for roi in tags.get("ROIContourSequence", ()) if name_of.get(roi.ReferencedROINumber) == name]
        polygons = polygons_of([contour for roi in rois for contour in roi.get("ContourSequence", ())], scan)
        inside = inside_zyx(polygons, scan)
        if not inside.any():
            (too_small if polygons else without).append(name)
        labels_zyx[inside] = label
    reasons = [f"without closed contours: {', '.join(without)}"] if without else []
    reasons += [f"smaller than a voxel of the scan: {', '.join(too_small)}"] if too_small else []
    if len(without) == len(wanted):
        raise CaseError("the RTSTRUCT has no contour of the regions asked for")
    if not labels_zyx.any():
        raise CaseError(f"no voxel lies in the regions asked for ({'; '.join(reasons)})")
    if reasons:
        note(f"RTSTRUCT: {len(without) + len(too_small)} of {len(wanted)} regions left out ({'; '.join(reasons)})")
    return scan.put_on(sitk.GetImageFromArray(labels_zyx))


def _read_segments(file: Path, scan: Grid | None, wanted: list[str]) -> sitk.Image:
    """Return the segments; the file may hold only the slices on which there is one."""
    import highdicom

    names = [name.lower() for name in label_names(file)]
    labels_zyx, affine = np.zeros(0, np.uint8), np.eye(4)
    with damage_means("the DICOM SEG is damaged, or lacks tags that the standard asks for"), bounded(file) as content:
        segments = highdicom.seg.segread(content)
    with damage_means("the DICOM SEG cannot be read as a volume on a regular grid"):
        for label, name in enumerate(wanted, start=1):
            chosen = [n for n, called in zip(segments.segment_numbers, names, strict=True) if called == name]
            volume = segments.get_volume(segment_numbers=chosen, dtype=np.float32)  # always the whole file's grid
            if label == 1:
                labels_zyx, affine = np.zeros(volume.spatial_shape, np.uint8), volume.affine
            labels_zyx[volume.array.max(axis=-1) >= 0.5] = label  # fractional segments are shares
    if not labels_zyx.any():
        raise CaseError("the DICOM SEG is empty")
    grid = Grid(labels_zyx.shape[::-1], affine[:3, 3], affine[:3, 2::-1])
    if scan is not None and not grid.lies_on(scan):
        raise CaseError("the segments lie on other voxels than the scan (spacing, place or directions differ)")
    return grid.put_on(sitk.GetImageFromArray(labels_zyx))
