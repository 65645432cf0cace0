"""What a volume's own header lacks, and labels whose header is not to be trusted.

CT-RATE's original volumes hold stored values on an identity grid; spacing, position, orientation and rescaling stand
in the publisher's table of metadata, applied here as in the publisher's fix_metadata.py.
"""

import ast
import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from meddiff.errors import CaseError

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclass(frozen=True)
class Header:
    """Rescaling to HU, and geometry in mm, LPS, xyz; `orientation` as in DICOM: the cosines of rows and columns."""

    slope: float
    intercept: float
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    orientation: tuple[float, ...]

    def as_text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_text(text: str) -> "Header":
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
        return Header(**values)


def read_headers(tables: Iterable[Path]) -> dict[str, Header]:
    """Return the headers of CT-RATE's tables by the volume's file name; incomplete rows are left out."""
    headers = {}
    for table in tables:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                try:
                    headers[row["VolumeName"]] = _header(row)
                except (KeyError, TypeError, ValueError, SyntaxError):
                    continue
    return headers


def read_scan(image: Path, header: str, min_extent_mm: float = 0.0, allow_missing: bool = False) -> "sitk.Image":
    """Return a case's CT as `volumes.read_ct` does, with `header`, text of the manifest, in place of the file's own.

    Raises:
        CaseError: the path holds no readable 3-D CT.
    """
    from meddiff.volumes import volumes

    if not header:
        return volumes.read_ct(image, min_extent_mm, allow_missing)
    with TemporaryDirectory() as folder:  # so that the checks and the clipping are those of every other scan
        corrected = Path(folder) / "ct.nii"
        volumes.write_image(with_header(volumes.read_image(image, placed=False), Header.from_text(header)), corrected)
        return volumes.read_ct(corrected, min_extent_mm)


def with_header(image: "sitk.Image", header: Header) -> "sitk.Image":
    """Return stored values as HU, int16, on the grid of `header`."""
    import numpy as np
    import SimpleITK as sitk

    stored_zyx, limits = sitk.GetArrayViewFromImage(image), np.iinfo(np.int16)
    hu_zyx = np.empty(stored_zyx.shape, np.int16)
    for stored, hu in zip(stored_zyx, hu_zyx, strict=True):  # slice by slice: no copy of the volume in another type
        hu[:] = np.clip(np.rint(stored * header.slope + header.intercept), limits.min, limits.max)
    placed = sitk.GetImageFromArray(hu_zyx)
    row, column = np.reshape(header.orientation, (2, 3))
    placed.SetDirection(np.stack([row, column, np.cross(row, column)], axis=1).ravel().tolist())
    placed.SetSpacing(header.spacing_mm)
    placed.SetOrigin(header.origin_mm)
    return placed


def labels_on_scan(path: Path, scan: "sitk.Image") -> "sitk.Image":
    """Return the label map at `path` voxel for voxel on the grid of `scan`, whatever its own header says.

    The masks of the NIH lymph nodes are stored in the order of the DICOM slices: x to the left, y to posterior, slices
    from below. That is the order of a scan in LPS, while programs that convert either to other orders see them flipped.

    Args:
        path: the label map.
        scan: in LPS, as `volumes.read_ct` returns it.

    Raises:
        CaseError: the label map is unreadable, or has another size.
    """
    from meddiff.volumes import volumes

    labels = volumes.read_image(path, placed=False)
    if labels.GetSize() != scan.GetSize():
        sizes = ("x".join(map(str, image.GetSize())) for image in (labels, scan))
        raise CaseError("label of {} voxels on a scan of {}".format(*sizes))
    return volumes.like(volumes.to_zyx(labels), scan)


def _header(row: dict[str, str]) -> Header:
    in_plane_mm, position_mm, orientation = (
        tuple(float(value) for value in ast.literal_eval(row[name]))
        for name in ("XYSpacing", "ImagePositionPatient", "ImageOrientationPatient")
    )
    if (len(in_plane_mm), len(position_mm), len(orientation)) != (2, 3, 6):
        raise ValueError("numbers are missing")
    rescaling = float(row["RescaleSlope"]), float(row["RescaleIntercept"])
    return Header(*rescaling, (*in_plane_mm, float(row["ZSpacing"])), position_mm, orientation)
