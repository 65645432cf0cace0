"""Volumes in one file: NIfTI, NRRD and MHA; damage is told from a volume."""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.geometry import Grid

DEFLATE = 1032  # no compressed byte stands for more
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def is_volume_file(path: Path) -> bool:
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_file(path: Path) -> sitk.Image:
    """Return the volume in a file, as it is; its axes may be sheared.

    Raises:
        CaseError: there is no readable volume; the message is the reason, without the path.
    """
    _refuse_what_is_no_volume(path)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        if _is_sheared(error):
            return _read_sheared_nifti(path)
        _raise_what_the_disk_says(path)
        if _promises_too_much(path):
            raise CaseError("damaged: its header promises more voxels than the file can hold") from None
        raise CaseError(f"unreadable or truncated: {_itk_reason(error)}") from error


def read_file_grid(path: Path) -> Grid:
    """Return where the voxels in a file lie, from its header; see `read_file`."""
    _refuse_what_is_no_volume(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # read_file knows what to do, or what to say
        return Grid.of(read_file(path))
    if reader.GetDimension() < 3:
        raise CaseError("not a 3-D volume")
    return Grid.of(reader)


def _refuse_what_is_no_volume(path: Path) -> None:
    if not path.exists():
        raise CaseError("no such file")
    if not is_volume_file(path):
        raise CaseError(f"not a volume: expected one of {', '.join(VOLUME_SUFFIXES)} or a DICOM folder")
    if path.stat().st_size == 0:
        raise CaseError("the file is empty")
    if _is_nifti(path):
        _refuse_truncated_nifti(path)


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _is_sheared(error: RuntimeError) -> bool:
    return "orthonormal" in str(error)  # ITK refuses a NIfTI whose axes are not, even by a thousandth


def _read_sheared_nifti(path: Path) -> sitk.Image:
    import nibabel

    file: Any = nibabel.load(path)
    values_xyz = np.asanyarray(file.dataobj)
    if values_xyz.ndim == 4 and values_xyz.shape[3] == 1:
        values_xyz = values_xyz[..., 0]
    if values_xyz.ndim != 3:
        raise CaseError("not a 3-D volume")
    if values_xyz.dtype == np.float64:
        values_xyz = values_xyz.astype(np.float32)
    affine = np.diag([-1, -1, 1, 1]) @ file.affine  # NIfTI's frame is RAS
    if abs(np.linalg.det(affine)) < 1e-9:
        raise CaseError("axes that do not span a space")
    return Grid(values_xyz.shape, affine[:3, 3], affine[:3, :3]).put_on(sitk.GetImageFromArray(values_xyz.T))


def _refuse_truncated_nifti(path: Path) -> None:
    """ITK reads a NIfTI that ends too early without a word and leaves what lay in memory, so its length is checked."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        header: Any = nibabel.load(path).header  # type: ignore[attr-defined]
        needed = int(header["vox_offset"]) + math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
        if _content_bytes(path, needed) < needed:
            raise CaseError(f"truncated: the file ends before its {needed:,} bytes")
    except (ImageFileError, HeaderDataError, gzip.BadGzipFile, zlib.error) as error:
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


def _raise_what_the_disk_says(path: Path) -> None:
    """Read a file that ITK cannot read, which does not tell why: the disk's or the system's fault is an OSError."""
    with path.open("rb") as file:
        while file.read(2**24):
            pass


def _promises_too_much(path: Path) -> bool:
    """Return whether no compression could have got the header's voxels into the file; ITK would run out of memory."""
    if path.suffix.lower() == ".mhd":  # its voxels are in another file
        return False
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return False
    voxel_bytes = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent() * reader.GetNumberOfComponents()
    return math.prod(reader.GetSize()) * voxel_bytes > DEFLATE * path.stat().st_size


def _itk_reason(error: RuntimeError) -> str:
    """Return the last sentence of an ITK error, without the paths it is wrapped in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return os.path.basename(lines[-1])[:160] if lines else "no reason given"
