"""Bringing what is published: resumed after a break, checked, and unpacked so that it appears whole."""

import logging
import os
import shutil
import tarfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from meddiff.datasets import PROVIDER_FILE, Remote
from meddiff.errors import UserError
from meddiff.machine.files import FULL_DISK, read_json, sha256, write_json
from meddiff.machine.home import user_cache_dir
from meddiff.machine.progress import duration

log = logging.getLogger(__name__)

ARCHIVES = ".archives"  # below the dataset; hidden, so never a case
CHUNK_BYTES = 2**16  # what a break in the middle of it loses
TIMEOUT_SECONDS = (10, 60)
REPORT_SECONDS = 10.0


class NoConnection(UserError):
    """A server cannot be reached, or not any longer."""


def cache_dir() -> Path:
    """Return `$MEDDIFF_CACHE`, or `meddiff` in the user's cache folder."""
    told = os.environ.get("MEDDIFF_CACHE")
    return Path(told) if told else user_cache_dir() / "meddiff"


def bring(remotes: Iterable[Remote], out: Path, keep: bool = False) -> None:
    """Download and unpack archives into a dataset's folder; those that are there already are left alone.

    Args:
        remotes: the archives.
        out: the folder; its `SOURCE.json` tells what was unpacked there, with the sha256 of each archive.
        keep: leave the archives in `.archives`.

    Raises:
        UserError: no connection, another file than expected, no space, or an archive that is broken or unsafe.
    """
    marker = out / PROVIDER_FILE
    done: dict[str, Any] = read_json(marker) if marker.exists() else {}
    for remote in remotes:
        if remote.url in done:
            log.info("%s: unpacked before", _name(remote))
            continue
        archive = fetch(remote, out / ARCHIVES)
        done[remote.url] = {
            "sha256": sha256(archive),
            "bytes": archive.stat().st_size,
            "checked": remote.digest.partition(":")[0] or "size" if remote.digest or remote.size_bytes else "nothing",
        }
        unpack(archive, out)
        write_json(done, marker)
        if not keep:
            archive.unlink()


def fetch(remote: Remote, folder: Path, patience: "Patience | None" = None) -> Path:
    """Return the archive in `folder`, downloaded unless it is there; a break is gone on from, also by a later call.

    Raises:
        NoConnection: the server cannot be reached.
        UserError: see `bring`; nothing is left under the archive's name.
    """
    import pooch

    name = _name(remote)
    downloader = _Resuming(folder / f"{name}.part", patience or Patience())
    pooch.get_logger().setLevel(logging.WARNING)
    with _no_space(name, folder):
        try:
            path = Path(
                pooch.retrieve(remote.url, remote.digest or None, fname=name, path=folder, downloader=downloader)
            )
        except ValueError as error:
            raise UserError(
                f"{name}: not the expected file ({remote.digest.partition(':')[0]} differs); it was deleted, try again"
            ) from error
    if not remote.digest and remote.size_bytes not in (None, path.stat().st_size):
        found = path.stat().st_size
        path.unlink()
        raise UserError(f"{name}: {found:,} bytes instead of {remote.size_bytes:,}; it was deleted, try again")
    return path


def unpack(archive: Path, out: Path) -> None:
    """Unpack a zip or tar file into `out`, which it reaches only as a whole.

    Raises:
        UserError: no space, or a broken or unsafe archive; nothing of it is left in `out`.
    """
    scratch = out / f".unpacking-{archive.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with _no_space(archive.name, out):
            scratch.mkdir(parents=True)
            (_unzip if archive.suffix == ".zip" else _untar)(archive, scratch)
            _move(scratch, out)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{archive.name}: cannot be unpacked ({reason}); delete it and download it again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class Patience:
    """How many breaks in a row that bring nothing new are borne, and how long to wait after each."""

    breaks: int = 5
    wait_seconds: float = 5.0


class _Resuming:
    """A downloader for pooch that appends to a `.part` file, so that no byte is asked for twice."""

    def __init__(self, part: Path, patience: Patience) -> None:
        self.part, self.patience = part, patience

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        import requests

        self.part.parent.mkdir(parents=True, exist_ok=True)
        breaks = 0
        while True:
            before = self._have()
            try:
                self._go_on(url)
                break
            except requests.RequestException as error:
                breaks = breaks + 1 if self._have() <= before else 1
                if breaks > self.patience.breaks:
                    raise NoConnection(
                        f"{url}: the connection breaks ({type(error).__name__}) after {_gb(self._have())}; "
                        "the same command goes on from there"
                    ) from error
                log.info("%s: the connection broke after %s, going on", self.part.stem, _gb(self._have()))
                time.sleep(self.patience.wait_seconds)
        os.replace(self.part, output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _go_on(self, url: str) -> None:
        """Ask for what is missing and append it.

        Raises:
            requests.RequestException: the connection broke, or the server is busy.
            UserError: the server has no such file, or the disk has no room for it.
        """
        import requests

        have = self._have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range", "") == f"bytes */{have}":
                    return  # all of it is here
                self.part.unlink()
                raise requests.ConnectionError("the file on the server became shorter")
            if answer.status_code in (429, *range(500, 600)):
                raise requests.ConnectionError(f"the server answers {answer.status_code}")
            if not answer.ok:
                raise UserError(f"{url}: the server answers {answer.status_code} {answer.reason}")
            if answer.status_code != requests.codes.partial_content:
                have = 0  # it sends the whole file again
            self._append(answer, have)

    def _append(self, answer: Any, have: int) -> None:
        import requests

        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        _check_space(self.part.parent, (total or 0) - have, self.part.stem)
        meter = _Meter(self.part.stem, have, total)
        with self.part.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(CHUNK_BYTES):
                file.write(chunk)
                meter.add(len(chunk))
        if total is not None and self._have() != total:
            raise requests.ConnectionError("the connection was closed early")


class _Meter:
    """Says now and then how much has come and how long the rest will take."""

    def __init__(self, name: str, have: int, total: int | None) -> None:
        self.name, self.have, self.total, self._begun = name, have, total, have
        self._start = self._last = time.monotonic()

    def add(self, count: int) -> None:
        self.have += count
        now = time.monotonic()
        if self.total is None or now - self._last < REPORT_SECONDS:
            return
        self._last = now
        left = (now - self._start) / (self.have - self._begun) * (self.total - self.have)
        log.info("%s: %s of %s, %s left", self.name, _gb(self.have), _gb(self.total), duration(left))


@contextmanager
def _no_space(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise UserError(f"{name}: the disk of {folder} is full; make room, the same command goes on") from error


def _check_space(folder: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{name}: needs {_gb(needed)} in {folder}, {_gb(free)} are free; make room or choose another --out"
        )


def _unzip(archive: Path, scratch: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            parts = PurePosixPath(info.filename)
            if parts.is_absolute() or ".." in parts.parts or "\\" in info.filename:
                raise UserError(f"{archive.name}: holds an unsafe path, {info.filename!r}; nothing was unpacked")
        _check_space(scratch, sum(info.file_size for info in file.infolist()), archive.name)
        file.extractall(scratch)  # noqa: S202  (every path was checked above; links come out as plain files)


def _untar(archive: Path, scratch: Path) -> None:
    _check_space(scratch, archive.stat().st_size, archive.name)
    with tarfile.open(archive) as file:
        file.extractall(scratch, filter="data")


def _move(source: Path, target: Path) -> None:
    """Move what is in a folder to another one on the same disk; folders that both have are merged."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move(path, place)
        else:
            os.replace(path, place)


def _name(remote: Remote) -> str:
    return remote.url.partition("?")[0].rsplit("/", 1)[-1]


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
