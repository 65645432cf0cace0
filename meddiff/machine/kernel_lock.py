"""Locks of the kernel: who holds one is told, and none outlives its process.

Choice: the lock is the kernel's (POSIX, `fcntl`) and ends with its process, however that ends, so none is ever stale;
what stands in the file only tells who holds it. A file created with O_EXCL would outlive a process that was killed, and
so does a lock of `flock`: the processes that the killed one has forked, readers of data, share it. NFS and Lustre
(mounted with `flock`) carry POSIX locks from node to node.

A process loses such a lock when it closes any descriptor of the file, so nothing but this module opens one, and what
this process holds is noted here, since the kernel would grant it again.

The workflow loads this file by itself, also where the package is not installed.
"""

import errno
import fcntl
import getpass
import json
import logging
import os
import socket
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BYTES = 10_000  # of what stands in a lock file
HELD = {errno.EACCES, errno.EAGAIN}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_FileId = tuple[int, int]  # device and inode
_held: dict[_FileId, int] = {}  # with descriptors
_guard = threading.RLock()


def try_hold(path: Path) -> int | None:
    """Take the lock of a file; None when it is held, by another process or by this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _guard:
        if _own(path) is not None:
            return None
        descriptor = _open_shared(path)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                os.close(descriptor)
                return None
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            log.warning("%s: this file system has no locks, so another process here would go unnoticed", path.parent)
        _held[_file_id(os.fstat(descriptor))] = descriptor
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)
    return descriptor


def release(lock: int) -> None:
    os.ftruncate(lock, 0)
    with _guard:
        del _held[_file_id(os.fstat(lock))]
        os.close(lock)


def holder(path: Path) -> str:
    """Return who holds the lock of a file, as words."""
    try:
        with _guard:
            own = _own(path)
            text = path.read_bytes() if own is None else os.pread(own, MOST_BYTES, 0)
        who = json.loads(text)
    except (OSError, ValueError):
        return "another process"
    return f"process {who['pid']} of {who['user']} on {who['host']} since {who['since']}"


def in_use(path: Path, what: str) -> str:
    """Return the line for another process that wants the lock; `what` is its name in messages."""
    return f"{what} is in use by {holder(path)}; wait for it or end it"


def _own(path: Path) -> int | None:
    """Return the descriptor with which this process holds the lock of a file; opens nothing."""
    try:
        return _held.get(_file_id(os.lstat(path)))
    except FileNotFoundError:
        return None


def _file_id(status: os.stat_result) -> _FileId:
    return status.st_dev, status.st_ino


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
    """Forget in a forked process what its parent holds; the kernel gave it none of these locks."""
    global _guard
    _guard = threading.RLock()  # another thread of the parent may have been in it
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
