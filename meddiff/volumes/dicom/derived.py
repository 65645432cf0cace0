"""Writing a derived CT as a DICOM series beside the one it was made from."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from meddiff.errors import UserError
from meddiff.machine.files import temporary_beside
from meddiff.volumes import volumes
from meddiff.volumes.dicom.series import choose_series

if TYPE_CHECKING:
    from pydicom import FileDataset

WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # of the elements whose value is a row of numbers
OF_OLD_VOXELS = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


def check_derivable(source: Path, out: Path) -> None:
    """Refuse what `write_derived_series` could not write, before long work begins.

    Raises:
        UserError: there is something at `out`, or the source is a multi-frame file.
        CaseError: the source holds no CT.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out}: already holds files, and a series goes into a folder of its own; name a new one")
    if any(plane.frame is not None for plane in choose_series(source).series.planes):
        raise UserError(
            f"{source}: a multi-frame DICOM file, of which no series can be derived; convert it to NIfTI first"
        )


def write_derived_series(image: sitk.Image, source: Path, out: Path, description: str) -> None:
    """Write a slice for every slice of the source series: new voxels, new identifiers, marked as derived.

    Patient and study stay as they are, so that the series lies beside its source in an archive.

    Args:
        image: HU in LPS, on the grid of the source.
        source: the DICOM folder.
        out: folder of the new series.
        description: goes into SeriesDescription and DerivationDescription.

    Raises:
        UserError: see `check_derivable`.
    """
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    check_derivable(source, out)
    chosen = choose_series(source).series
    acquired = chosen.grid.put_on(sitk.Image(chosen.grid.size_xyz, sitk.sitkUInt8))
    hu_zyx = volumes.to_zyx(volumes.onto(image, acquired))  # turned, and sheared if the gantry was tilted
    series = generate_uid()
    out.mkdir(parents=True, exist_ok=True)
    for number, (source_plane, plane) in enumerate(zip(chosen.planes, hu_zyx, strict=True), start=1):
        tags = _read_as_little_endian(source_plane.path)
        tags.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        tags.SeriesDescription = tags.DerivationDescription = description
        tags.SeriesInstanceUID = series
        tags.SOPInstanceUID = tags.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 16, 15, 1
        tags.RescaleSlope, tags.RescaleIntercept = 1, 0
        tags.PixelData = np.ascontiguousarray(plane, "<i2").tobytes()
        tags["PixelData"].VR = "OW"
        with temporary_beside(out / f"{number:04d}.dcm") as temporary:
            tags.save_as(temporary, enforce_file_format=True)


def _read_as_little_endian(path: Path) -> "FileDataset":
    """Return the tags of a slice without its voxels and what speaks of them, for a file of little-endian numbers."""
    import pydicom

    source = pydicom.dcmread(path, force=True)
    for name in ("PixelData", *OF_OLD_VOXELS):
        if name in source:
            delattr(source, name)
    big_endian = source.original_encoding[1] is False
    for element in source.iterall():  # which also settles what the old voxels' number format decides
        if big_endian and element.VR in WORD_BYTES and isinstance(element.value, bytes):
            element.value = np.frombuffer(element.value, f">u{WORD_BYTES[element.VR]}").byteswap().tobytes()
    tags = pydicom.Dataset()  # with nothing that has not been decoded, and no word of another order of bytes
    tags.update(source)
    return pydicom.FileDataset(path, tags, preamble=source.preamble, file_meta=source.file_meta)
