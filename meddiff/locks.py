"""Locks: one process at a time works in a folder or on a GPU, and another one is told who holds it.

Choice: the lock is the kernel's (`flock`) and ends with its process, however that ends, so none is ever stale; what
stands in the file only tells who holds it. A file created with O_EXCL would outlive a process that was killed. NFS and
Lustre (mounted with `flock`) carry such locks from node to node.
"""

import errno
import fcntl
import getpass
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meddiff.errors import UserError

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 2
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_open: set[int] = set()


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of a file; `what` is its name in messages.

    Raises:
        UserError: another process holds it; host, process, user and time are named.
    """
    lock = hold(path, what)
    try:
        yield
    finally:
        release(lock)


@contextmanager
def locked_after_others(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of a file as soon as no other process does; a log line tells whose end is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while (lock := try_hold(path)) is None:
        if not told:
            log.info("%s is in use by %s; waiting for its end", what, holder(path))
        told = True
        time.sleep(SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        release(lock)


def hold(path: Path, what: str) -> int:
    """Take the lock of a file, until `release` or the end of this process.

    Raises:
        UserError: another process holds it; host, process, user and time are named.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = try_hold(path)
    if lock is None:
        raise UserError(f"{what} is in use by {holder(path)}; wait for it or end it")
    return lock


def try_hold(path: Path) -> int | None:
    """Take the lock of a file; None when another process holds it."""
    descriptor = _open_shared(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(descriptor)
            raise
        log.warning("%s: this file system has no locks, so another process here would go unnoticed", path.parent)
    _open.add(descriptor)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)
    return descriptor


def release(lock: int) -> None:
    os.ftruncate(lock, 0)
    _open.remove(lock)
    os.close(lock)


def holder(path: Path) -> str:
    """Return who holds the lock of a file, as words."""
    try:
        who = json.loads(path.read_text())
    except (OSError, ValueError):
        return "another process"
    return f"process {who['pid']} of {who['user']} on {who['host']} since {who['since']}"


def _myself() -> dict[str, str | int]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"user {os.getuid()}"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"host": socket.gethostname(), "pid": os.getpid(), "user": user, "since": since}


def _open_shared(path: Path) -> int:
    """Open a file, or make it for every user; a link is not followed, as others may write into the folder."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        if os.fstat(descriptor).st_uid == os.getuid():
            os.fchmod(descriptor, 0o666)  # whatever the umask
        return descriptor


def _leave_to_parent() -> None:
    """Let go of what a forked process got from its parent: a reader of data must not outlive it with its lock."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
