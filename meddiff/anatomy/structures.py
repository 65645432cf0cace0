"""Anatomy that comes in parts: a folder with a file for each structure, or the regions of an RTSTRUCT or SEG.

The parts are known by their names, those of TotalSegmentator's classes in any case of letters, and `body`. Where two
overlap, the class with the smaller number is seen; the body, with the largest of all, is what the others leave.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.numbering import IDS, class_of
from meddiff.errors import CaseError
from meddiff.volumes import volumes
from meddiff.volumes.dicom.labels import find_label_file, label_names, read_dicom_labels
from meddiff.volumes.files import VOLUME_SUFFIXES, is_volume_file
from meddiff.volumes.geometry import Grid

SHOWN = 4
TASK = "TotalSegmentator's task total"


def is_structure_folder(path: Path) -> bool:
    """Return whether a path is a folder with volumes, as TotalSegmentator writes one for each structure."""
    return path.is_dir() and any(is_volume_file(file) for file in path.iterdir())


def read_structure_files(folder: Path) -> tuple[sitk.Image, str]:
    """Return the ids of the structures whose files lie in a folder, uint8, and what was read.

    Raises:
        CaseError: no file is called like a class, one cannot be read, or they lie on different voxels.
    """
    files = {_stem(path): path for path in sorted(folder.iterdir()) if is_volume_file(path)}
    known, taken = _known(files)
    labels, ids_zyx = None, np.zeros(0, np.uint8)
    for name in known:
        try:
            part = volumes.read_upright_labels(files[name])
            if labels is None:
                labels, ids_zyx = part, np.zeros(part.GetSize()[::-1], np.uint8)
        except CaseError as error:
            raise CaseError(f"{files[name].name}: {error}") from error
        if not Grid.of(part).equals(Grid.of(labels)):
            raise CaseError(
                f"{files[name].name} lies on other voxels than {files[known[0]].name}; save all on one grid"
            )
        part = sitk.Resample(part, labels, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        ids_zyx[sitk.GetArrayViewFromImage(part) > 0.5] = IDS[class_of(name)]
    assert labels is not None  # noqa: S101 - a name is known, or there was a reason
    return volumes.like(ids_zyx, labels), taken


def read_structure_regions(path: Path, scan: Grid | None) -> tuple[sitk.Image, str]:
    """Return the ids of the regions of an RTSTRUCT or the segments of a SEG, uint8, and what was read.

    Args:
        path: the file, or the folder with it.
        scan: where they must lie; none: where a SEG has its voxels.

    Raises:
        CaseError: no region is called like a class, or they do not lie on the scan.
    """
    file = find_label_file(path)
    known, taken = _known(label_names(file))
    labels = read_dicom_labels(file, scan, known)
    ids = np.array([0, *(IDS[class_of(name)] for name in known)], np.uint8)
    return volumes.like(ids[sitk.GetArrayViewFromImage(labels)], labels), taken


def listed(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _known(names: Iterable[str]) -> tuple[list[str], str]:
    """Return the names that are classes, the largest number first, and what is read and left out."""
    names = list(dict.fromkeys(names))
    known = sorted((name for name in names if class_of(name) in IDS), key=lambda name: -IDS[class_of(name)])
    if not known:
        raise CaseError(f"{listed(names) or 'nothing'}: no classes of {TASK}")
    left_out = [name for name in names if name not in known]
    beside = f"; left out, as no classes of it: {listed(left_out)}" if left_out else ""
    return known, f"structures of the mask: {listed(known[::-1])}{beside}"


def _stem(path: Path) -> str:
    return path.name[: -len(next(suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix)))]
