"""What lies in a dataset's root, told cheaply, so that every run sees which scans are new, replaced or gone."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import partial
from itertools import chain
from pathlib import Path, PurePath

from meddiff.datasets.entry import Dataset
from meddiff.datasets.layout import Layout
from meddiff.errors import UserError
from meddiff.machine.files import digest

THREADS = 16  # a folder on a network disk is waited for, not computed


def state_of(dataset: Dataset) -> str:
    """Return a digest of names, sizes and times of a dataset's scans and what belongs to them.

    Empty where there is none: then a disk is away, which tells nothing of the scans.

    Choice: every folder that the patterns lead through is listed once, many at a time, and what is in it is told by the
    listing (scandir; network file systems send sizes and times along); no file is opened, and none looked for by name.
    A scan that is a folder counts as one entry, so a DICOM file that is overwritten in its place is not seen.
    """
    try:
        layout = Layout(dataset)
        bases = layout.bases
    except UserError:
        return ""
    with ThreadPoolExecutor(THREADS) as pool:
        found = {
            (os.path.relpath(path, dataset.root or "."), size, time)
            for pattern in _patterns(dataset)
            for path, size, time in _matches(bases, PurePath(pattern).parts, pool)
        }
    return digest(sorted(found)) if found else ""


def stamp_of(paths: Iterable[Path | None]) -> str:
    """Return a digest of the sizes and times of some files, empty ones for those that are not there."""
    return digest([_size_and_time(path) for path in paths if path])


def _patterns(dataset: Dataset) -> list[str]:
    """Return globs for all that decides what the index finds, and what is read of a case."""
    parents = sorted({PurePath(image).parent.as_posix() for image in dataset.image})
    partners = [
        os.path.normpath(pattern.format(name="*", case="*", parent=parent))
        for pattern in (*dataset.lesion, *dataset.low_dose, *dataset.thick)
        for parent in parents
    ]
    tables = [table.files for table in (dataset.header_table,) if table]
    return [*dataset.image, *partners, *tables, *(table.file for table in (dataset.split_table,) if table)]


def _matches(
    folders: Iterable[Path | str], parts: tuple[str, ...], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, int, int]]:
    """Give path, size and time of what matches a glob below some folders."""
    for part in parts[:-1]:
        folders = list(chain.from_iterable(pool.map(partial(_folders, part), folders)))
    yield from chain.from_iterable(pool.map(partial(_entries, parts[-1]), folders))


def _folders(part: str, folder: Path | str) -> list[str]:
    if part == "**":
        return [place for place, _, _ in os.walk(folder)]
    return [entry.path for entry in _listing(folder) if fnmatch(entry.name, part) and entry.is_dir()]


def _entries(part: str, folder: Path | str) -> list[tuple[str, int, int]]:
    return [(entry.path, *_size_and_time(entry)) for entry in _listing(folder) if fnmatch(entry.name, part)]


def _listing(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # why it cannot be read is told by the index
        return []


def _size_and_time(path: Path | os.DirEntry[str]) -> tuple[int, int]:
    try:
        stat = path.stat()
        return stat.st_size, stat.st_mtime_ns
    except OSError:
        return 0, 0
