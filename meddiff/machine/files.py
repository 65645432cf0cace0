"""Files and folders that appear whole: written beside their place, then moved into it."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY = ".tmp-"
PROBE = bytes(2**16)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same suffixes, in small letters; on success it takes the place of `path`.

    Raises:
        OSError: the disk is full, also where the library that wrote does not tell (ITK) or calls it something else
            (blosc2).
    """
    temporary = path.with_name(_temporary_name(path))
    try:
        with _naming_on_full_disk(path):
            try:
                yield temporary
            finally:
                _refuse_full_disk(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder, beside `path`; on success it becomes `path`.

    Where `path` is there, perhaps as a mount that nothing can replace, the temporary folder lies in it, and its files
    go up one by one, the first by name last of all: with that one the folder is whole.
    """
    is_there = path.is_dir()
    temporary = (path if is_there else path.parent) / _temporary_name(path)
    for folder in (path.parent, path):
        remove_leftovers(folder, {path.name})
    temporary.mkdir(parents=True)
    try:
        with _naming_on_full_disk(path):
            yield temporary
            if is_there:
                for file in sorted(temporary.iterdir(), reverse=True):
                    os.replace(file, path / file.name)
            else:
                os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, names: set[str] | None = None) -> None:
    """Remove what killed processes left of the files and folders with these names, or of all, in a folder."""
    left = None if names is None else {_with_small_suffix(name) for name in names}
    for path in folder.glob(f"{TEMPORARY}*"):
        if left is None or path.name.removeprefix(TEMPORARY).partition("-")[2] in left:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _temporary_name(path: Path) -> str:
    return f"{TEMPORARY}{os.getpid()}-{_with_small_suffix(path.name)}"


@contextmanager
def _naming_on_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            error.filename = str(path)
        raise


def _with_small_suffix(name: str) -> str:
    """Return `SCAN.nii.gz` for `SCAN.NII.GZ`; ITK writes no format whose suffix has capitals."""
    stem, last = os.path.splitext(name)
    stem, inner = os.path.splitext(stem) if last.lower() == ".gz" else (stem, "")
    return stem + (inner + last).lower()


def _refuse_full_disk(temporary: Path) -> None:
    """Append a block and take it away again: where there is no room for it, the file may have lost its end."""
    with suppress(FileNotFoundError), temporary.open("r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if file.write(PROBE) < len(PROBE):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.truncate(size)


def write_text(text: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # names of files may be any bytes


def write_json(value: Any, path: Path) -> None:
    write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", path)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return 16 hex digits that name a JSON value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
