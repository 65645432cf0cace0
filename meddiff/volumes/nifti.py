"""NIfTI files: where their voxels lie, and what they are.

A header has up to two geometries, and programs differ in which of them counts. Here, for scans and masks alike, it is
nibabel's rule, which is that of TotalSegmentator: the sform where its code is not 0, sheared or not; else the qform
where its code is not 0; else the file does not say where it lies, and is refused. ITK's rule is another one: the qform
comes first, and of a file without either front and back are the other way round than in nibabel.

Two things are taken from the standard's own library, as ITK does: a quaternion that rounding made longer than 1 is one
of length 1, and lengths in metres or micrometres are lengths (nibabel leaves units to its caller).
"""

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.geometry import Grid, refuse_impossible

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE = 1032  # no compressed byte stands for more
BLOCK = 2**22
EXTENSION_BYTES = 2**20
HEADER_BYTES = 540  # the larger one, of NIfTI-2
QUATERNION_SLACK = 1e-3  # Choice: what is longer than 1 by more was not made by rounding
MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # NIFTI_UNITS_METER and _MICRON; everything else is mm
ERROR_LEVEL = 40  # nibabel's own, where nothing else is asked for
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])

_SILENT = logging.Logger("nibabel's checks")  # what they find is in the reason, or harmless
_SILENT.addHandler(logging.NullHandler())


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path, placed: bool = True) -> sitk.Image:
    """Return the volume in a NIfTI file: its slope applied, in the file's order of voxels, on axes that may be sheared.

    Whether it is compressed is seen by its first bytes, not by its name.

    Memory: a copy as it is stored and, where it has a slope, another one with 4 bytes per voxel (8 of float64).

    Args:
        path: the file.
        placed: the file must say where it lies; else its voxels alone are wanted.

    Raises:
        CaseError: it holds no readable volume; the message is the reason.
    """
    with opened(path) as stream:
        header = _read_header(stream)
        grid = _grid(header) if placed else None
        stored_zyx = _read_voxels(stream, header, path)
    image = sitk.GetImageFromArray(_scaled(stored_zyx, header))
    return grid.put_on(image) if grid else image


def read_nifti_grid(path: Path) -> Grid:
    """Return where the voxels of a NIfTI file lie, from its header; see `read_nifti`."""
    with opened(path) as stream:
        return _grid(_read_header(stream))


def read_nifti_header(path: Path) -> Any:
    """Return nibabel's header of a NIfTI-1 or NIfTI-2 file, checked.

    Raises:
        CaseError: there is none.
    """
    with opened(path) as stream:
        return _read_header(stream)


def read_nifti_extensions(path: Path) -> bytes:
    """Return what stands between the header and the voxels of a NIfTI file, a megabyte at most.

    Raises:
        CaseError: it is none.
    """
    with opened(path) as stream:
        header = _read_header(stream)
        stream.seek(header.sizeof_hdr)
        return stream.read(min(voxels_start(header) - header.sizeof_hdr, EXTENSION_BYTES))


def write_sheared_nifti(image: sitk.Image, path: Path) -> None:
    """Write a volume whose axes are not perpendicular: as an sform alone, since ITK would straighten them silently."""
    from nibabel.nifti1 import Nifti1Image

    grid, affine = Grid.of(image), np.eye(4)
    affine[:3, :3], affine[:3, 3] = RAS_TO_LPS @ grid.axes_mm, RAS_TO_LPS @ grid.origin_mm
    file: Any = Nifti1Image(sitk.GetArrayViewFromImage(image).T, affine)
    file.set_sform(affine, "scanner")
    file.header.set_xyzt_units("mm")
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as stream:
        file.to_stream(stream)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Give what is in a file, unpacked where it is compressed.

    Raises:
        CaseError: what is compressed ends too early, or is not what its checksum says.
    """
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream  # type: ignore[misc]
        except EOFError as error:
            raise CaseError("truncated: the compressed file ends too early") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise CaseError(f"damaged: what is compressed in it is not whole ({error})") from error


def _read_header(stream: BinaryIO) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    block = stream.read(HEADER_BYTES)
    for kind in (Nifti1Header, Nifti2Header):
        if len(block) >= kind.sizeof_hdr and kind.may_contain_header(block):  # type: ignore[attr-defined]
            try:
                header: Any = kind(block[: kind.sizeof_hdr], check=False)
                header.check_fix(_SILENT, ERROR_LEVEL)  # mends what is harmless
            except (HeaderDataError, ValueError) as error:
                raise CaseError(f"unreadable: {_sentence(error)}") from error
            if header["magic"].item() != header.single_magic:
                raise CaseError("half of a pair of .hdr and .img; save it as one NIfTI file")
            return header
    raise CaseError("unreadable: not a NIfTI file")


def _grid(header: Any) -> Grid:
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        raise CaseError(
            "its header does not say how it lies in the patient (qform_code and sform_code are 0), and programs guess "
            "differently; convert the scan again, or set one where you know it"
        )
    affine = _affine(header) * MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    grid = Grid(_size_xyz(header), RAS_TO_LPS @ affine[:3, 3], RAS_TO_LPS @ affine[:3, :3])
    refuse_impossible(grid)
    return grid


def _affine(header: Any) -> np.ndarray:
    from nibabel.spatialimages import HeaderDataError

    names = ("quatern_b", "quatern_c", "quatern_d")
    length = math.hypot(*(float(header[name]) for name in names))
    if 1 < length < 1 + QUATERNION_SLACK:
        for name in names:
            header[name] = header[name] / length
    try:
        return header.get_best_affine()
    except (HeaderDataError, ValueError) as error:
        reason = f"its qform is no rotation ({_sentence(error)}); convert the scan again, or set its sform"
        raise CaseError(reason) from error


def _size_xyz(header: Any) -> tuple[int, int, int]:
    shape = [int(n) for n in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 3 or min(shape) < 1:
        raise CaseError(f"not a 3-D volume: size {'x'.join(map(str, shape))}")
    return shape[0], shape[1], shape[2]


def voxels_start(header: Any) -> int:
    """Return how many bytes lie before the voxels of a NIfTI file."""
    start = int(np.nan_to_num(float(header["vox_offset"])))
    if start < header.single_vox_offset:  # nibabel lets 0 through, and readers begin at three different places then
        raise CaseError(f"unreadable: by its vox_offset, {start}, the voxels begin within the header")
    return start


def _read_voxels(stream: BinaryIO, header: Any, path: Path) -> np.ndarray:
    """Return the voxels as they are stored, `zyx`, in this computer's order of bytes."""
    size_xyz, dtype = _size_xyz(header), header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = header.get_value_label("datatype")
        raise CaseError(f"voxels of the type {name}; expected one whole or real number for each (a colour image?)")
    start = voxels_start(header)
    stored = math.prod(size_xyz) * dtype.itemsize
    if start + stored > path.stat().st_size * (DEFLATE if isinstance(stream, gzip.GzipFile) else 1):
        raise CaseError(f"truncated: the file ends before its {start + stored:,} bytes")
    buffer = np.empty(stored, np.uint8)
    stream.seek(start)
    _fill(stream, buffer.data, start + stored)
    values = buffer.view(dtype)
    if not dtype.isnative:
        values = values.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return values.reshape(size_xyz[::-1])


def _fill(stream: BinaryIO, buffer: memoryview, promised: int) -> None:
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled : filled + BLOCK])  # type: ignore[attr-defined]
        if not count:
            raise CaseError(f"truncated: the file ends before its {promised:,} bytes")
        filled += count
    stream.read(1)  # at its end a compressed file is compared with its checksum


def _scaled(stored_zyx: np.ndarray, header: Any) -> np.ndarray:
    """Return slope and intercept applied, in float64 as ITK does, slice by slice: no copy in another type."""
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise CaseError(f"unreadable: {_sentence(error)}") from error
    if slope is None or (slope, intercept) == (1, 0):
        return stored_zyx
    scaled_zyx = np.empty(stored_zyx.shape, np.float64 if stored_zyx.dtype == np.float64 else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for stored, scaled in zip(stored_zyx, scaled_zyx, strict=True):
            scaled[:] = stored.astype(np.float64) * slope + intercept
    return scaled_zyx


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
