"""A CT, or a map, that was made from a DICOM series, as a series of its own in the same study.

Choice: a map is a series of CT slices in modified HU, with its scale in the rescale tags. Viewers, dcm2niix and ITK
open it and lay it over its source, which of parametric maps with numbers of float few do.
"""

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from meddiff import __version__
from meddiff.errors import UserError
from meddiff.machine.files import temporary_folder
from meddiff.volumes import volumes
from meddiff.volumes.dicom.headers import Plane
from meddiff.volumes.dicom.series import Series, choose_series
from meddiff.volumes.geometry import Grid

if TYPE_CHECKING:
    from pydicom import FileDataset

MAKER = "MedDiff-FM"
SLICE = "{:04d}.dcm"  # the name of its file, by its number from 1
HU, MODIFIED_HU = "HU", "HU_MOD"
LIMITS = -32768, 32767  # of the numbers that are stored
WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # of the elements whose value is a row of numbers
OF_OLD_VOXELS = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence"),
)
OF_OLD_PLACE = ("GantryDetectorTilt", "ReconstructionDiameter", "DataCollectionDiameter", "PixelAspectRatio")
OVERLAYS = range(0x6000, 0x6020)  # groups


@dataclass(frozen=True)
class Content:
    """What a derived series shows.

    Args:
        description: goes into SeriesDescription (its first 64 letters) and DerivationDescription.
        unit: RescaleType: HU, or HU_MOD for what is no CT.
        step: of the stored whole numbers, in that unit.
        window: centre and width to be shown at; none: those of the source.
    """

    description: str
    unit: str = HU
    step: float = 1.0
    window: tuple[float, float] | None = None


def check_derivable(source: Path, out: Path) -> None:
    """Refuse what `write_derived_series` could not write, before long work begins.

    Raises:
        UserError: there is a file at `out`, or in it, or the source is a multi-frame file.
        CaseError: the source holds no CT.
    """
    if out.exists() and not (out.is_dir() and all(path.is_dir() for path in out.iterdir())):
        raise UserError(f"--out {out}: already holds files, and a series goes into a folder of its own; name a new one")
    single_frames(source)


def is_derived(out: Path) -> bool:
    """Return whether a series was written to a folder, whole; what lies in folders within it is another one's."""
    return (out / SLICE.format(1)).exists()


def single_frames(source: Path) -> Series:
    """Return the series of a DICOM folder with a file for each slice.

    Raises:
        UserError: it is a multi-frame file.
        CaseError: the folder holds no CT.
    """
    chosen = choose_series(source).series
    if any(plane.frame is not None for plane in chosen.planes):
        raise UserError(
            f"{source}: a multi-frame DICOM file, of which no series can be derived; convert it to NIfTI first"
        )
    return chosen


def write_derived_series(image: sitk.Image, source: Path, out: Path, content: Content) -> None:
    """Write slices with new voxels and identifiers, marked as derived.

    Patient, study and frame of reference stay as they are, so that the series lies beside and over its source in an
    archive. Where the image has the voxels of the source each slice has the tags of its own one, else those of the
    source's nearest slice, with its own place.

    Args:
        image: in the content's unit.
        source: the DICOM folder.
        out: folder of the new series.
        content: what it shows.

    Raises:
        UserError: see `check_derivable`.
    """
    from pydicom.uid import generate_uid

    check_derivable(source, out)
    chosen = single_frames(source)
    fits = Grid.of(image).orthogonal().equals(chosen.grid.orthogonal())
    placed = _onto(image, chosen.grid, content) if fits else sitk.DICOMOrient(image, "LPS")
    series_uid = generate_uid()
    with quiet(), temporary_folder(out) as folder:
        for number, plane in enumerate(sitk.GetArrayViewFromImage(placed), start=1):
            origin_mm = np.array(placed.TransformIndexToPhysicalPoint((0, 0, number - 1)))
            tags = _read_as_little_endian(_nearest(chosen.planes, origin_mm).path)
            if not fits:
                _set_place(tags, placed, origin_mm, number)
            _set_identity(tags, content, series_uid)
            _set_voxels(tags, plane, content)
            tags.save_as(folder / SLICE.format(number), enforce_file_format=True)


def quiet() -> AbstractContextManager:
    """Keep the warnings of the DICOM libraries to themselves: they quote what tags hold, names of patients too."""
    return warnings.catch_warnings(action="ignore")


def _onto(image: sitk.Image, grid: Grid, content: Content) -> sitk.Image:
    """Return values on the voxels of a series, float32: turned, and sheared if the gantry was tilted."""
    where = grid.put_on(sitk.Image(grid.size_xyz, sitk.sitkUInt8))
    outside = float(volumes.AIR_HU) if content.unit == HU else 0.0
    return sitk.Resample(image, where, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)


def _nearest(planes: list[Plane], place_mm: np.ndarray) -> Plane:
    normal = planes[0].normal
    return min(planes, key=lambda plane: abs(float((plane.position_mm - place_mm) @ normal)))


def _set_place(tags: Any, image: sitk.Image, origin_mm: np.ndarray, number: int) -> None:
    from pydicom.valuerep import format_number_as_ds as ds

    width_mm, height_mm, thickness_mm = image.GetSpacing()
    ways = np.reshape(image.GetDirection(), (3, 3))
    tags.ImagePositionPatient = [ds(float(v)) for v in origin_mm]
    tags.ImageOrientationPatient = [ds(float(v)) for v in (*ways[:, 0], *ways[:, 1])]
    tags.PixelSpacing = [ds(height_mm), ds(width_mm)]
    tags.SliceThickness = tags.SpacingBetweenSlices = ds(thickness_mm)
    tags.SliceLocation = ds(float(origin_mm @ ways[:, 2]))
    tags.Columns, tags.Rows, _ = image.GetSize()
    tags.InstanceNumber = number
    for name in OF_OLD_PLACE:
        tags.pop(name, None)
    for element in [element for element in tags if element.tag.group in OVERLAYS]:
        del tags[element.tag]


def _set_identity(tags: Any, content: Content, series_uid: str) -> None:
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    now = datetime.now()
    tags.SourceImageSequence = [_reference(tags)]
    tags.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    tags.SeriesDescription, tags.DerivationDescription = content.description[:64], content.description
    tags.SeriesInstanceUID = series_uid
    tags.SOPInstanceUID = tags.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    tags.InstanceCreationDate, tags.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    tags.ContributingEquipmentSequence = [*(tags.get("ContributingEquipmentSequence") or ()), _equipment()]


def _reference(tags: Any) -> Any:
    """Return the item that names the slice from which another one was made."""
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = tags.SOPClassUID, tags.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [_coded(codes.DCM.SourceImageForImageProcessingOperation)]
    return item


def _equipment() -> Any:
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_coded(codes.DCM.ModifyingEquipment)]
    item.Manufacturer = item.ManufacturerModelName = MAKER
    item.SoftwareVersions = __version__
    return item


def _coded(code: Any) -> Any:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _set_voxels(tags: Any, plane: np.ndarray, content: Content) -> None:
    stored = np.clip(np.rint(plane / content.step), *LIMITS)
    tags.BitsAllocated, tags.BitsStored, tags.HighBit, tags.PixelRepresentation = 16, 16, 15, 1
    tags.RescaleSlope, tags.RescaleIntercept, tags.RescaleType = content.step, 0, content.unit
    if content.window:
        for name in ("VOILUTSequence", "VOILUTFunction", "WindowCenterWidthExplanation"):
            tags.pop(name, None)
        tags.WindowCenter, tags.WindowWidth = content.window
    tags.PixelData = np.ascontiguousarray(stored, "<i2").tobytes()
    tags["PixelData"].VR = "OW"


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
