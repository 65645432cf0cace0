"""Where a result on a scan goes: into a volume, or beside the DICOM series that the scan came from."""

from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk

from meddiff.derived.labels import is_dicom_labels, write_dicom_labels
from meddiff.derived.series import Content, is_derived, write_derived_series
from meddiff.volumes import volumes


def write_result(image: sitk.Image, content: Content, source: Path, out: Path) -> None:
    """Write a CT or map as the volume that the name of the file says, else as a folder with a derived series."""
    if volumes.is_volume_file(out):
        volumes.write_image(image, out)
    else:
        write_derived_series(image, source, out, content)


def is_written(out: Path) -> bool:
    """Return whether there is a whole result: a file, or a folder with a series of its own."""
    return out.is_file() or is_derived(out)


def write_labels(labels: sitk.Image, names: Mapping[int, str], source: Path, out: Path) -> None:
    """Write labels, uint8, as the volume, SEG or RTSTRUCT that the name of the file says."""
    if is_dicom_labels(out):
        write_dicom_labels(labels, names, source, out)
    else:
        volumes.write_image(labels, out)
