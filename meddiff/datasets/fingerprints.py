"""Which scans are the same: a quick fingerprint of every case, and a comparison of all voxels where two may be.

Archives share scans (AbdomenCT-1K holds those of the liver Decathlon), and a scan that is trained on must not be tested
on. Every case has the fingerprint `slice`: the header's geometry, and the histogram of the first slice as it is stored,
which no flip within the slice changes. Between datasets that are known to share scans the geometry alone, `grid`, is
reason enough to compare, so that a stack that was turned upside down is found, too. What decides is `voxels`, the
histogram of all of them. A histogram is that of HU_RANGE, since archives clip air and metal differently. A DICOM series
has its identifier in the place of `slice` and `grid`; the phases of a scan may share it, and an anonymiser may give all
series the same. Only digests are kept.
"""

import hashlib
import logging
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.datasets import REGISTRY
from meddiff.datasets.index import Case
from meddiff.machine.faults import machine_fault
from meddiff.machine.files import digest
from meddiff.machine.progress import Progress
from meddiff.machine.tsv import read_tsv, write_tsv
from meddiff.volumes.dicom.series import choose_series
from meddiff.volumes.files import read_file
from meddiff.volumes.nifti import is_nifti, opened, read_nifti_header, voxels_start

log = logging.getLogger(__name__)

COLUMNS = ("path", "size", "modified", "grid", "slice", "voxels")
HU_RANGE = (-900, 900)
SAVE_EVERY = 500
TAIL_BYTES = 65536
VOLUME_THREADS = 2  # each holds a whole volume
UNREADABLE = ""
THE_SAME_AS = "the same scan as "


@dataclass
class Fingerprints:
    """Fingerprints of files, kept in a table so that a second run reads only what is new or changed."""

    table: Path
    threads: int = 8

    def __post_init__(self) -> None:
        rows = read_tsv(self.table) if self.table.exists() else []
        self._known = {row["path"]: row for row in rows if tuple(row) == COLUMNS}  # older versions had others

    def read(self, paths: list[Path], kind: str) -> dict[Path, str]:
        """Return the `grid`, `slice` or `voxels` fingerprints of files and DICOM folders; empty for unreadable ones."""
        work = {"grid": grid_fingerprint, "slice": slice_fingerprint, "voxels": voxel_fingerprint}[kind]
        missing = [path for path in paths if not self._row(path).get(kind)]
        progress = Progress(f"{kind} fingerprints", len(missing), every_seconds=10)
        try:
            with ThreadPoolExecutor(VOLUME_THREADS if kind == "voxels" else self.threads) as pool:
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
    alike = _alike(cases, fingerprints)
    voxels = fingerprints.read([case.image for case in alike], "voxels")
    same = [group for group in _groups(alike, voxels) if len(group) > 1]
    first_of = {case.id: _first(group) for group in same for case in group}
    return [
        replace(case, quarantine=case.quarantine or f"{THE_SAME_AS}{first_of[case.id]}")
        if first_of.get(case.id, case.id) != case.id
        else case
        for case in cases
    ]


def grid_fingerprint(path: Path) -> str:
    """Return a digest of the geometry that a scan's header tells; empty where it cannot be read."""
    return _fingerprint(path, lambda path: _nifti(path)[0] if is_nifti(path) else _geometry(path), _series)


def slice_fingerprint(path: Path) -> str:
    """Return a digest of a scan's geometry and a sample of it; empty where it cannot be read."""
    return _fingerprint(path, lambda path: _first_slice(path) if is_nifti(path) else _tail(path), _series)


def voxel_fingerprint(path: Path) -> str:
    """Return a digest of a scan's size and the histogram of all its voxels; empty where there is none."""
    return _fingerprint(path, _all_voxels, _all_voxels_of_series)


def _fingerprint(path: Path, of_file: Callable[[Path], list[Any]], of_folder: Callable[[Path], list[Any]]) -> str:
    try:
        return digest(of_folder(path) if path.is_dir() else of_file(path))
    except Exception as error:  # what is wrong with the scan is found out, with a reason, when the case is read
        if machine_fault(error):
            raise
        return UNREADABLE


def _alike(cases: list[Case], fingerprints: Fingerprints) -> list[Case]:
    """Return the cases of which two may be the same scan."""
    slices = fingerprints.read([case.image for case in cases], "slice")
    alike = {case.id for group in _groups(cases, slices) if len(group) > 1 for case in group}
    there = {case.dataset for case in cases}
    for name, others in ((name, REGISTRY[name].shares_scans_with) for name in sorted(there & set(REGISTRY))):
        related = [case for case in cases if case.dataset in {name, *others}] if there & set(others) else []
        grids = fingerprints.read([case.image for case in related], "grid")
        for group in _groups(related, grids):
            if len({case.dataset for case in group}) > 1:
                alike |= {case.id for case in group}
    return [case for case in cases if case.id in alike]


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


def _nifti(path: Path) -> tuple[list[Any], Any]:
    """Return the geometry of a NIfTI, whatever way the slice is turned, and its header."""
    header = read_nifti_header(path)
    shape, spacing_mm = header.get_data_shape()[:3], [round(float(value), 2) for value in header.get_zooms()[:3]]
    return [sorted(shape[:2]), shape[2], sorted(spacing_mm[:2]), spacing_mm[2]], header


def _geometry(path: Path) -> list[Any]:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return [reader.GetSize(), reader.GetSpacing()]


def _first_slice(path: Path) -> list[Any]:
    geometry, header = _nifti(path)
    dtype, (slope, intercept) = header.get_data_dtype(), header.get_slope_inter()
    with opened(path) as stream:
        stream.seek(voxels_start(header))
        values = np.frombuffer(stream.read(math.prod(header.get_data_shape()[:2]) * dtype.itemsize), dtype)
    if (slope or 1, intercept or 0) != (1, 0):
        values = values * slope + intercept
    return [*geometry, _histogram([values]).tolist()]


def _tail(path: Path) -> list[Any]:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        return [*_geometry(path), hashlib.sha256(file.read()).hexdigest()]


def _all_voxels(path: Path) -> list[Any]:
    import SimpleITK as sitk

    image = read_file(path, placed=False)
    return _size_and_histogram(image.GetSize(), sitk.GetArrayViewFromImage(image))


def _all_voxels_of_series(folder: Path) -> list[Any]:
    series = choose_series(folder).series
    return _size_and_histogram(series.grid.size_xyz, (plane.hu() for plane in series.planes))


def _size_and_histogram(size_xyz: tuple[int, ...], slices: Iterable[np.ndarray]) -> list[Any]:
    counts = _histogram(slices)
    if not counts.any():
        raise ValueError("nothing but air and metal")
    return [sorted(size_xyz), counts.tolist()]


def _histogram(slices: Iterable[np.ndarray]) -> np.ndarray:
    """Return how often each whole number of HU_RANGE occurs."""
    low, high = HU_RANGE
    counts = np.zeros(high - low + 1, np.int64)
    for values in slices:
        whole = np.rint(values[(values > low - 0.5) & (values < high + 0.5)]).astype(np.int32)
        counts += np.bincount(whole - low, minlength=len(counts))
    return counts
