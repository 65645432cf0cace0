"""Writing a derived CT as a DICOM series beside the one it was made from."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.errors import UserError
from meddiff.machine.files import temporary_beside
from meddiff.volumes import volumes
from meddiff.volumes.dicom.series import choose_series


def write_derived_series(image: sitk.Image, source: Path, out: Path, description: str) -> None:
    """Write a slice for every slice of the source series: new voxels, new identifiers, marked as derived.

    Patient and study stay as they are, so that the series lies beside its source in an archive.

    Args:
        image: HU in LPS, on the grid of the source.
        source: the DICOM folder.
        out: folder of the new series.
        description: goes into SeriesDescription and DerivationDescription.

    Raises:
        UserError: the source is a multi-frame file.
    """
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    chosen = choose_series(source).series
    if any(plane.frame is not None for plane in chosen.planes):
        raise UserError("the source is a multi-frame DICOM file, of which no series can be derived")
    acquired = chosen.grid.put_on(sitk.Image(chosen.grid.size_xyz, sitk.sitkUInt8))
    hu_zyx = volumes.to_zyx(volumes.onto(image, acquired))  # turned, and sheared if the gantry was tilted
    series = generate_uid()
    out.mkdir(parents=True, exist_ok=True)
    for number, (source_plane, plane) in enumerate(zip(chosen.planes, hu_zyx, strict=True), start=1):
        tags = pydicom.dcmread(source_plane.path, force=True)
        tags.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        tags.SeriesDescription = tags.DerivationDescription = description
        tags.SeriesInstanceUID = series
        tags.SOPInstanceUID = tags.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 16, 15, 1
        tags.RescaleSlope, tags.RescaleIntercept = 1, 0
        for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
            if name in tags:  # of the old voxels, and of the old number format
                delattr(tags, name)
        del tags.PixelData  # it may have been compressed
        tags.PixelData = np.ascontiguousarray(plane, "<i2").tobytes()
        tags["PixelData"].VR = "OW"
        with temporary_beside(out / f"{number:04d}.dcm") as temporary:
            tags.save_as(temporary, enforce_file_format=True)
