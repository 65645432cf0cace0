"""Reading and writing volumes, and the one place where axis orders meet.

Outside, an image is a `SimpleITK.Image`: index order xyz, physical frame LPS.
Inside, an array is `zyx`: the last axis runs to the patient's left, the middle one
to posterior, the first one to superior.
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.files import temporary_beside

AIR_HU = -1024
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
SPACING_TOLERANCE_MM = 0.05

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def is_volume_file(path: Path) -> bool:
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_ct(path: Path) -> sitk.Image:
    """Return a CT volume in canonical LPS orientation, int16, in HU; padding below air becomes air.

    Args:
        path: a NIfTI, NRRD or MHA file, or a folder with DICOM slices.

    Raises:
        CaseError: the path holds no readable 3-D CT; the message is the reason.
    """
    image = _read_dicom_series(path) if path.is_dir() else _read_file(path)
    image = sitk.DICOMOrient(_drop_fourth_axis(image), "LPS")
    hu_zyx = sitk.GetArrayViewFromImage(image)
    _refuse_unless_ct(hu_zyx)
    clipped_zyx = np.clip(hu_zyx, AIR_HU, np.iinfo(np.int16).max).astype(np.int16)
    return like(clipped_zyx, image)


def read_labels(path: Path, reference: sitk.Image) -> sitk.Image:
    """Return the label map at `path` on the grid of `reference`, uint8, nearest neighbour."""
    labels = sitk.Cast(sitk.DICOMOrient(_read_file(path), "LPS"), sitk.sitkUInt8)
    return sitk.Resample(labels, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def read_image(path: Path) -> sitk.Image:
    """Return a volume that this project wrote, as it is."""
    return _read_file(path)


def write_image(image: sitk.Image, path: Path) -> None:
    """Write a volume so that `path` appears whole or not at all; `.nii.gz` at compression level 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=1)


def to_zyx(image: sitk.Image) -> np.ndarray:
    """Return the voxels as a `zyx` array (a copy)."""
    return sitk.GetArrayFromImage(image)


def like(array_zyx: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """Return an image with these voxels and the geometry of `reference`."""
    image = sitk.GetImageFromArray(array_zyx)
    image.CopyInformation(reference)
    return image


def from_zyx(
    array_zyx: np.ndarray, spacing_mm: float, origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> sitk.Image:
    """Return an axis-aligned isotropic LPS image; `origin_mm` is xyz, of the first voxel's centre."""
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing((spacing_mm,) * 3)
    image.SetOrigin(origin_mm)
    return image


def onto(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Return a CT on another grid, int16 HU, linear interpolation, air where it does not reach."""
    values = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, float(AIR_HU), sitk.sitkFloat32)
    return sitk.Cast(sitk.Round(values), sitk.sitkInt16)  # a filter's own cast to integers cuts off


def crop(image: sitk.Image, start_zyx: tuple[int, ...], stop_zyx: tuple[int, ...]) -> sitk.Image:
    """Return the box [start, stop) of an image, with its origin moved accordingly."""
    size_xyz = [stop - start for start, stop in zip(start_zyx, stop_zyx, strict=True)][::-1]
    return sitk.RegionOfInterest(image, size_xyz, list(start_zyx)[::-1])


def _read_file(path: Path) -> sitk.Image:
    if not path.exists():
        raise CaseError("no such file")
    if not is_volume_file(path):
        raise CaseError(f"not a volume: expected one of {', '.join(VOLUME_SUFFIXES)} or a DICOM folder")
    if path.stat().st_size == 0:
        raise CaseError("the file is empty")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _refuse_truncated_nifti(path)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CaseError(f"unreadable or truncated: {_itk_reason(error)}") from error


def _refuse_truncated_nifti(path: Path) -> None:
    """ITK reads a NIfTI that ends too early without a word and leaves what lay in memory, so its length is checked."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        header: Any = nibabel.load(path).header  # type: ignore[attr-defined]
        needed = int(header["vox_offset"]) + math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
        if _content_bytes(path, needed) < needed:
            raise CaseError(f"truncated: the file ends before its {needed:,} bytes")
    except (ImageFileError, gzip.BadGzipFile, zlib.error) as error:
        raise CaseError("unreadable: not a NIfTI file") from error
    except EOFError as error:
        raise CaseError("truncated: the compressed file ends too early") from error


def _content_bytes(path: Path, needed: int) -> int:
    """Return the uncompressed length of a file, up to `needed`; of a whole .gz the last four bytes tell it at once."""
    if path.suffix != ".gz":
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(), "little") == needed % 2**32:
            return needed
    with gzip.open(path) as stream:
        return sum(len(block) for block in iter(lambda: stream.read(2**22), b""))


def series_files(folder: Path) -> tuple[str, ...]:
    """Return the files of a folder's CT series in the order of their slices.

    Raises:
        CaseError: there is none.
    """
    reader = sitk.ImageSeriesReader()
    series_ids = reader.GetGDCMSeriesIDs(str(folder))
    if not series_ids:
        reason = "the folder is empty" if not any(folder.iterdir()) else "the folder holds no DICOM series"
        raise CaseError(reason)
    # Choice: of several series the one with most slices; localizers have one to three.
    return max((reader.GetGDCMSeriesFileNames(str(folder), s) for s in series_ids), key=len)


def series_orientation(folder: Path) -> str:
    """Return the orientation in which a folder's CT series lies on disk, such as LPS."""
    direction = _read_dicom_series(folder).GetDirection()
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction)


def _read_dicom_series(folder: Path) -> sitk.Image:
    files = series_files(folder)
    _refuse_unless_ct_slices(files)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise CaseError(f"unreadable DICOM series: {_itk_reason(error)}") from error


def _refuse_unless_ct_slices(files: tuple[str, ...]) -> None:
    import pydicom

    positions_mm = []
    for file in files:
        tags = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Modality", "ImagePositionPatient"])
        if tags.get("Modality", "") != "CT":
            raise CaseError(f"DICOM modality is {tags.get('Modality', 'not given')}, not CT")
        positions_mm.append(np.asarray(tags.get("ImagePositionPatient", (0, 0, 0)), dtype=float))
    steps_mm = np.linalg.norm(np.diff(positions_mm, axis=0), axis=1)
    if len(steps_mm) and np.ptp(steps_mm) > SPACING_TOLERANCE_MM:
        raise CaseError(f"uneven slice spacing, {steps_mm.min():.2f} to {steps_mm.max():.2f} mm: slices are missing")


def _drop_fourth_axis(image: sitk.Image) -> sitk.Image:
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise CaseError("colour image, not CT")
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        return image[:, :, :, 0]
    if image.GetDimension() != 3 or min(image.GetSize()) < 2:
        raise CaseError(f"not a 3-D volume: size {'x'.join(map(str, image.GetSize()))}")
    return image


def _refuse_unless_ct(hu_zyx: np.ndarray) -> None:
    """Choice: a CT in HU has voxels of fat, air or lung (below -50) and is not constant; MR and PET have none."""
    lowest, highest = float(hu_zyx.min()), float(hu_zyx.max())
    if not np.isfinite([lowest, highest]).all():
        raise CaseError("voxels that are not finite numbers")
    if lowest >= -50 or highest <= -500:
        raise CaseError(f"values from {lowest:g} to {highest:g} cannot be CT in HU (MR, PET or missing rescale?)")


def _itk_reason(error: RuntimeError) -> str:
    """Return the last sentence of an ITK error, without the paths it is wrapped in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return os.path.basename(lines[-1])[:160] if lines else "no reason given"
