"""What the headers of a DICOM folder say; each is read once, and the voxels stay on disk until they are asked for."""

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.errors import CaseError
from meddiff.machine.extras import how_to_get
from meddiff.machine.files import digest

DIRECTORY = "1.2.840.10008.1.3.10"  # of a medium, mostly called DICOMDIR
ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # multi-frame CT, and converted to it
CT_IMAGES = ("1.2.840.10008.5.1.4.1.1.2", *ENHANCED)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # of one frame, and with a number behind it of several
_TAGS = (
    *("SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "ConcatenationUID", "Modality", "ImageType"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept", "RescaleType", "ExtendedOffsetTable", "PixelData"),
    *("ExtendedOffsetTableLengths", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_DEFER_BYTES = 4096
_SUFFIXES = (".dcm", ".ima")


@contextmanager
def damage_means(reason: str) -> Iterator[None]:
    """Turn what the DICOM libraries raise on a damaged file (of many kinds) into a `CaseError` with this reason."""
    try:
        yield
    except (CaseError, MemoryError, OSError):  # for the last two the machine is to blame
        raise
    except Exception as error:  # where it is a fault of the machine after all, `machine_fault` sees it by its cause
        raise CaseError(reason) from error


@dataclass(frozen=True)
class Plane:
    """One slice: a file, or a frame of a multi-frame file."""

    header: Any
    frame: int | None
    position_mm: np.ndarray
    cosines: np.ndarray  # of a row and of a column, (6,)
    spacing_mm: tuple[float, float]  # between rows, between columns
    thickness_mm: float
    rescale: tuple[float, float]  # slope and intercept, of each slice its own

    @property
    def path(self) -> Path:
        return Path(self.header.filename)

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.cosines[:3], self.cosines[3:])

    def hu(self) -> np.ndarray:
        """Return the slice in HU, (rows, columns), float32.

        Raises:
            CaseError: the pixels cannot be decoded.
        """
        from pydicom.pixels.utils import pixel_array

        on_disk = self.header.get_item("PixelData", keep_deferred=True)
        syntax = value_of(self.header.file_meta, "TransferSyntaxUID")
        name = "unknown compression" if syntax is None or syntax.name == syntax else syntax.name
        read_by = "a compression that is not read" if find_spec("gdcm") else f"one that {how_to_get('gdcm')} lets read"
        with damage_means(f"a DICOM slice cannot be decoded ({name}): damaged, or {read_by}"):
            stored = pixel_array(self.header, index=self.frame, raw=True)
            unused_bits = 8 * stored.itemsize - int(self.header.BitsStored)
        if self.frame is None:
            self.header["PixelData"] = on_disk  # lets go of the bytes
        if stored.shape != (self.header.Rows, self.header.Columns):
            raise CaseError("a DICOM slice is not a grey-scale plane of its header's size")
        if unused_bits:
            # Overlays may fill the bits above the stored ones, and the sign may end below them.
            stored = (stored << unused_bits) >> unused_bits
        slope, intercept = np.array(self.rescale, np.float32)
        return stored * slope + intercept


@dataclass(frozen=True)
class FolderHeaders:
    """What lies in a DICOM folder: headers, by file name, and how many files there are beside them.

    `unreadable` files are slices by name or by their first bytes, and are cut off, empty or links to nothing; `others`
    are no DICOM.
    """

    headers: list[Any]
    unreadable: int
    others: int


def read_headers(folder: Path) -> FolderHeaders:
    """Return the headers of the DICOM files that lie in a folder; what lies deeper is left alone."""
    headers, rest = [], []
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.name.startswith(".") or path.name.upper() == "DICOMDIR":
            continue
        header = _parse(path, _TAGS)
        if header is not None and value_of(header.file_meta, "MediaStorageSOPClassUID") == DIRECTORY:
            continue
        headers.append(header) if _is_whole(header) else rest.append(path)
    names = {_like(Path(header.filename)) for header in headers}
    unreadable = sum(_like(path) in names or path.suffix.lower() in _SUFFIXES or _has_mark(path) for path in rest)
    return FolderHeaders(headers, unreadable, len(rest) - unreadable)


def read_header(path: Path, tags: tuple[str, ...]) -> Any:
    """Return some tags of a DICOM file, or None for what is no DICOM file with a modality."""
    header = _parse(path, tags)
    return None if header is None or value_of(header, "Modality") is None else header


class _Bounded(io.BufferedReader):
    """A file that is not asked for more bytes than it has: a damaged length would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DEFER_BYTES:
            size = min(size, os.fstat(self.fileno()).st_size)
        return super().read(size)


def bounded(path: Path | str, _mode: str = "rb") -> io.BufferedReader:
    """Open a file for pydicom, so that damage is no lack of memory."""
    return _Bounded(io.FileIO(str(path)))  # pydicom keeps the name and opens it again


def _is_whole(header: Any) -> bool:
    """Return whether a header tells what it is of, and a CT has its pixels, which are the last of the tags."""
    if header is None:
        return False
    kind = str(value_of(header.file_meta, "MediaStorageSOPClassUID") or value_of(header, "SOPClassUID") or "")
    return "PixelData" in header or not any(uid.startswith(kind) for uid in CT_IMAGES)  # it may be cut off, too


def _parse(path: Path, tags: tuple[str, ...]) -> Any:
    from pydicom import config, dcmread
    from pydicom.uid import ImplicitVRLittleEndian

    config.settings.reading_validation_mode = config.IGNORE  # its warnings quote what tags hold
    if not path.is_file() or not is_dicom(path):
        return None
    try:
        with damage_means("no DICOM"):
            with bounded(path) as file:
                header = dcmread(file, defer_size=_DEFER_BYTES, specific_tags=list(tags), force=True)
            header.fileobj_type = bounded  # what was left on disk is read in the same way
            header.file_meta.setdefault("TransferSyntaxUID", ImplicitVRLittleEndian)
            return header
    except CaseError:  # the first bytes of DICOM and others behind
        return None


def patient_key(folder: Path) -> str:
    """Return a digest of the PatientID of a DICOM folder, empty if it has none; the identifier itself is not kept."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    headers = (read_header(path, ("Modality", "PatientID")) for path in files)
    patient = next((value_of(header, "PatientID") for header in headers if header is not None), None)
    return digest(str(patient).strip()) if patient and str(patient).strip() else ""


def modality_of(header: Any) -> str:
    """Return the modality, fit to be shown: damage may have put what follows it in the file there."""
    modality = str(value_of(header, "Modality") or "")
    return modality if re.fullmatch("[A-Z]{0,16}", modality) else "unknown"


def is_dicom(path: Path) -> bool:
    """Choice: without the preamble, as in some old .IMA files, the first element is of group 0002 or 0008."""
    start = _start(path)
    return start[128:] == b"DICM" or start[:2] in (b"\2\0", b"\b\0")


def _has_mark(path: Path) -> bool:
    return _start(path)[128:] == b"DICM"


def _start(path: Path) -> bytes:
    if not path.is_file():  # a link to nothing
        return b""
    with path.open("rb") as file:
        return file.read(132)


def _like(path: Path) -> str:
    """Return what the names of the slices of a series have in common."""
    return re.sub(r"\d+", "#", path.name)


def value_of(header: Any, name: str) -> Any:
    """Return what a tag holds; None if that is not what its type allows."""
    try:
        with damage_means(f"not a {name}"):
            return header.get(name)
    except CaseError:
        return None


def is_capture(header: Any) -> bool:
    """Return whether a file says that it is a picture of a screen or film, which may have a place like a slice."""
    return f"{value_of(header, 'SOPClassUID')}.".startswith(f"{SECONDARY_CAPTURE}.")


def unit_of(header: Any) -> str:
    """Return the unit of a file's values, such as HU, in capitals; empty if it does not say."""
    try:
        with damage_means("no unit"):
            rescale = header
            if header.SOPClassUID in ENHANCED:
                own, shared = header.PerFrameFunctionalGroupsSequence[0], header.SharedFunctionalGroupsSequence[0]
                rescale = _group(own, shared, "PixelValueTransformationSequence")
            return str(rescale.get("RescaleType") or "").strip().upper()
    except CaseError:  # planes_of says more
        return ""


def planes_of(header: Any) -> list[Plane]:
    """Return the slices of a CT file.

    Raises:
        CaseError: the header does not say where they lie, or is damaged.
    """
    with damage_means("slices without position, orientation or pixel size"):
        if header.SOPClassUID in ENHANCED:
            shared = header.SharedFunctionalGroupsSequence[0]
            frames = enumerate(header.PerFrameFunctionalGroupsSequence)
            return [_plane(header, frame, partial(_group, own, shared)) for frame, own in frames]
        return [_plane(header, None, lambda _: header)]


def _group(own: Any, shared: Any, name: str) -> Any:
    return (own if name in own else shared)[name][0]


def _plane(header: Any, frame: int | None, group: Callable[[str], Any]) -> Plane:
    measures, rescale = group("PixelMeasuresSequence"), group("PixelValueTransformationSequence")
    thickness_mm = value_of(measures, "SliceThickness")  # may be of any kind: it decides which series is read, no more
    plane = Plane(
        header,
        frame,
        np.array(group("PlanePositionSequence").ImagePositionPatient, float).reshape(3),
        np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float).reshape(6),
        (float(measures.PixelSpacing[0]), float(measures.PixelSpacing[1])),
        thickness_mm if isinstance(thickness_mm, float) else 0.0,
        (_number(rescale.get("RescaleSlope"), 1), _number(rescale.get("RescaleIntercept"), 0)),
    )
    numbers = (*plane.position_mm, *plane.cosines, *plane.spacing_mm, *plane.rescale)
    positive = (*plane.spacing_mm, header.Rows, header.Columns)
    if not np.isfinite(numbers).all() or min(positive) <= 0 or np.linalg.norm(plane.normal) < 0.9:
        raise ValueError("no plane")
    return plane


def _number(value: Any, default: float) -> float:
    return default if value in (None, "") else float(value)
