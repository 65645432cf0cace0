"""Locks: one process at a time works in a folder or on a GPU, and another one is told who holds it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meddiff.errors import UserError
from meddiff.machine.kernel_lock import holder, in_use, release, try_hold

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 2


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
    lock = try_hold(path)
    if lock is None:
        raise UserError(in_use(path, what))
    return lock
