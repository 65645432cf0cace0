"""Which scans are the same: a quick fingerprint of every case, and a full comparison where two are equal.

The fingerprint is made of the header's geometry and the histogram of the first slice, which no flip within the slice
changes; a DICOM series has its identifier. Only its digest is kept. Archives share scans (AbdomenCT-1K holds those of
the liver Decathlon), and a scan that is trained on must not be tested on.
"""

import gzip
import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.data.index import Case
from meddiff.data.tsv import read_tsv, write_tsv
from meddiff.faults import machine_fault
from meddiff.files import digest
from meddiff.progress import Progress

log = logging.getLogger(__name__)

COLUMNS = ("path", "size", "modified", "quick", "full")
SAVE_EVERY = 500
TAIL_BYTES = 65536
FULL_THREADS = 2  # each holds a whole volume
UNREADABLE = ""


@dataclass
class Fingerprints:
    """Fingerprints of files, kept in a table so that a second run reads only what is new or changed."""

    table: Path
    threads: int = 8

    def __post_init__(self) -> None:
        rows = read_tsv(self.table) if self.table.exists() else []
        self._known = {row["path"]: row for row in rows}

    def of(self, paths: list[Path], kind: str) -> dict[Path, str]:
        """Return the `quick` or `full` fingerprints of files and DICOM folders; empty for what is unreadable."""
        work = {"quick": quick_fingerprint, "full": full_fingerprint}[kind]
        missing = [path for path in paths if not self._row(path).get(kind)]
        progress = Progress(f"{kind} fingerprints", len(missing), every_seconds=10)
        try:
            with ThreadPoolExecutor(self.threads if kind == "quick" else FULL_THREADS) as pool:
                for number, (path, value) in enumerate(zip(missing, pool.map(work, missing), strict=True), start=1):
                    self._known[str(path)] = self._row(path) | {kind: value}
                    progress.step()
                    if number % SAVE_EVERY == 0:
                        self._save()
        finally:
            self._save()
        return {path: self._row(path)[kind] for path in paths}

    def _row(self, path: Path) -> dict[str, Any]:
        size, modified = _stamp(path)
        known = self._known.get(str(path), {})
        if (known.get("size"), known.get("modified")) == (size, modified):
            return known
        return {"path": str(path), "size": size, "modified": modified}

    def _save(self) -> None:
        write_tsv(list(self._known.values()), COLUMNS, self.table)


def quarantine_duplicates(cases: list[Case], fingerprints: Fingerprints) -> list[Case]:
    """Return the cases, those that repeat another one marked with its name.

    Of equal scans the one of a downstream dataset is kept, so that what is tested on is not trained on; then the first.
    """
    quick = fingerprints.of([case.image for case in cases], "quick")
    alike = [group for group in _groups(cases, quick) if len(group) > 1]
    full = fingerprints.of([case.image for group in alike for case in group], "full")
    same = [same for group in alike for same in _groups(group, full) if len(same) > 1]
    first_of = {case.id: _first(group) for group in same for case in group}
    return [
        replace(case, quarantine=case.quarantine or f"the same scan as {first_of[case.id]}")
        if first_of.get(case.id, case.id) != case.id
        else case
        for case in cases
    ]


def quick_fingerprint(path: Path) -> str:
    """Return a digest of a scan's geometry and a sample of it; empty where it cannot be read."""
    try:
        if path.is_dir():
            return digest(_series(path))
        if path.name.lower().endswith((".nii", ".nii.gz")):
            return digest(_first_slice(path))
        return digest(_other_volume(path))
    except Exception as error:  # what is wrong with the scan is found out, with a reason, when the case is read
        if machine_fault(error):
            raise
        return UNREADABLE


def full_fingerprint(path: Path) -> str:
    """Return a digest of a scan's size and the histogram of all its voxels; a DICOM series keeps its quick one."""
    import SimpleITK as sitk

    if path.is_dir():
        return quick_fingerprint(path)
    try:
        image = sitk.ReadImage(str(path))
        return digest([sorted(image.GetSize()), _histogram(sitk.GetArrayViewFromImage(image))])
    except Exception as error:
        if machine_fault(error):
            raise
        return UNREADABLE


def _groups(cases: list[Case], values: dict[Path, str]) -> Iterator[list[Case]]:
    groups = defaultdict(list)
    for case in cases:
        if values[case.image]:
            groups[values[case.image]].append(case)
    yield from groups.values()


def _first(group: list[Case]) -> str:
    return min(group, key=lambda case: (case.role != "downstream", bool(case.quarantine))).id


def _stamp(path: Path) -> tuple[str, str]:
    """Return size and time of a file; of a folder, the number of its files."""
    try:
        stat = path.stat()
        return str(len(os.listdir(path)) if path.is_dir() else stat.st_size), str(stat.st_mtime_ns)
    except OSError:
        return "", ""


def _series(folder: Path) -> list[Any]:
    import pydicom

    files = sorted(path for path in folder.iterdir() if path.is_file())
    for file in files:
        tags = pydicom.dcmread(
            file, stop_before_pixels=True, specific_tags=["Modality", "SeriesInstanceUID"], force=True
        )
        if tags.get("SeriesInstanceUID"):
            return [str(tags.SeriesInstanceUID), len(files)]
    raise ValueError("no DICOM series")


def _first_slice(path: Path) -> list[Any]:
    import nibabel

    image: Any = nibabel.load(path)  # type: ignore[attr-defined]
    stored = image.dataobj  # its header's own offset and slope are emptied when it is read
    shape = stored.shape[:3]
    spacing_mm = [round(float(value), 2) for value in image.header.get_zooms()[:3]]
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as stream:
        stream.seek(stored.offset)
        values = np.frombuffer(stream.read(shape[0] * shape[1] * stored.dtype.itemsize), stored.dtype)
    if (stored.slope, stored.inter) != (1, 0):
        values = values * stored.slope + stored.inter
    return [sorted(shape[:2]), shape[2], sorted(spacing_mm[:2]), spacing_mm[2], _histogram([values])]


def _other_volume(path: Path) -> list[Any]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        return [reader.GetSize(), reader.GetSpacing(), hashlib.sha256(file.read()).hexdigest()]


def _histogram(slices: Iterable[np.ndarray]) -> str:
    """Return a digest of how often each whole number occurs."""
    low, high, counts = -(2**15), 2**15 - 1, np.zeros(2**16, np.int64)
    for values in slices:
        whole = np.clip(np.rint(values), low, high) if values.dtype != np.int16 else values
        counts += np.bincount(whole.ravel().astype(np.int32) - low, minlength=2**16)
    return hashlib.sha256(counts.astype("<i8").tobytes()).hexdigest()
