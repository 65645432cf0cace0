"""Volumes in one file: NIfTI, NRRD and MHA; damage is told from a volume."""

import math
import os
from pathlib import Path

import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.geometry import FLAT, Grid, refuse_impossible
from meddiff.volumes.nifti import DEFLATE, is_nifti, read_nifti, read_nifti_grid

WRITTEN_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
VOLUME_SUFFIXES = (*WRITTEN_SUFFIXES, ".mhd")  # whose voxels are in a second file
ITK_READERS = {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}  # by name it knows small letters

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def is_volume_file(path: Path) -> bool:
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_file(path: Path, placed: bool = True) -> sitk.Image:
    """Return the volume in a file, as it is; its axes may be sheared.

    Args:
        path: NIfTI (`nifti` has the rule for its geometry), NRRD or MHA.
        placed: the file must say where in the patient its voxels lie; else the voxels alone are wanted.

    Raises:
        CaseError: there is no readable volume, or it does not lie in a place; the message is the reason, without the
            path.
    """
    _refuse_what_is_no_volume(path)
    if is_nifti(path):
        return read_nifti(path, placed)
    image = _read_by_itk(path)
    if placed:
        refuse_impossible(Grid.of(image))
        _refuse_unknown_space(path, image)
    return image


def read_file_grid(path: Path) -> Grid:
    """Return where the voxels in a file lie, from its header; see `read_file`."""
    _refuse_what_is_no_volume(path)
    return read_nifti_grid(path) if is_nifti(path) else _grid_by_itk(path)


def read_segment_names(path: Path) -> dict[int, str]:
    """Return the identifiers of the segments that 3D Slicer saved in a `.seg.nrrd`, by their labels; of others none."""
    reader = _itk_reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # read_file knows what to say
        return {}
    header = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    labels = {key.removesuffix("_LabelValue"): value for key, value in header.items() if key.endswith("_LabelValue")}
    return {int(label): header.get(f"{segment}_ID", "") for segment, label in labels.items() if label.isdigit()}


def _refuse_what_is_no_volume(path: Path) -> None:
    if not path.exists():
        raise CaseError("no such file")
    if not is_volume_file(path):
        raise CaseError(f"not a volume: expected one of {', '.join(VOLUME_SUFFIXES)} or a DICOM folder")
    if path.stat().st_size == 0:
        raise CaseError("the file is empty")


def _read_by_itk(path: Path) -> sitk.Image:
    try:
        return _itk_reader(path).Execute()
    except RuntimeError as error:
        _raise_what_the_disk_says(path)
        if "determinant" in str(error):
            raise CaseError(FLAT) from None
        if _promises_too_much(path):
            raise CaseError("damaged: its header promises more voxels than the file can hold") from None
        raise CaseError(f"unreadable or truncated: {_itk_reason(error)}") from error


def _grid_by_itk(path: Path) -> Grid:
    reader = _itk_reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # read_file knows what to say
        return Grid.of(read_file(path))
    if reader.GetDimension() < 3:
        raise CaseError("not a 3-D volume")
    _refuse_unknown_space(path, reader)
    grid = Grid.of(reader)
    refuse_impossible(grid)
    return grid


def _itk_reader(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(ITK_READERS[path.suffix.lower()])
    return reader


def _refuse_unknown_space(path: Path, header: sitk.Image | sitk.ImageFileReader) -> None:
    """Refuse an NRRD file that does not say which way its axes run in the patient; ITK turns those that do to LPS."""
    if path.suffix.lower() != ".nrrd":
        return
    space = header.GetMetaData("NRRD_space") if "NRRD_space" in header.GetMetaDataKeys() else None
    if space != "left-posterior-superior":
        raise CaseError(
            f"its header does not say how it lies in the patient ({f'space: {space}' if space else 'no space'}); "
            "save it anew with that of the scan"
        )


def _raise_what_the_disk_says(path: Path) -> None:
    """Read a file that ITK cannot read, which does not tell why: the disk's or the system's fault is an OSError."""
    with path.open("rb") as file:
        while file.read(2**24):
            pass


def _promises_too_much(path: Path) -> bool:
    """Return whether no compression could have got the header's voxels into the file; ITK would run out of memory."""
    if path.suffix.lower() == ".mhd":  # its voxels are in another file
        return False
    reader = _itk_reader(path)
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
