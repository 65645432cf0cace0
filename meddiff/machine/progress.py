"""Progress of long work: plain lines with a bar, a count and the time left, or whoever watches is told."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

log = logging.getLogger(__name__)

BAR_WIDTH = 20
STATUS_SECONDS = 5.0
OnStep = Callable[[int, int], None]  # told after every step how many are done, and of how many
Watcher = Callable[[str, int, int], None]  # the same, and first what is being done

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)  # of this thread


class Progress:
    """Counts steps of about equal length and says how long the rest will take."""

    def __init__(self, name: str, total: int, every_seconds: float = 0.0) -> None:
        self.name, self.total, self.done = name, total, 0
        self._every, self._start, self._last = every_seconds, time.monotonic(), float("-inf")

    def step(self, message: str = "") -> None:
        """Count one step; a line is printed at most every `every_seconds`, and for the last step."""
        self.done += 1
        now = time.monotonic()
        if self.done < self.total and now - self._last < self._every:
            return
        self._last = now
        left = (now - self._start) / self.done * (self.total - self.done)
        bar = "#" * (BAR_WIDTH * self.done // self.total)
        ending = f", {duration(left)} left" if left >= 1 else ""
        log.info("%s [%-*s] %d/%d %s%s", self.name, BAR_WIDTH, bar, self.done, self.total, message, ending)


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Let a watcher be told, in place of lines, of what goes on in this thread; what it raises ends the work."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def showing(name: str) -> OnStep:
    """Return what shows a sampler's steps as they are taken; those of before an interruption are not counted."""
    if watcher := _watcher.get():
        return partial(watcher, name)
    progress: Progress | None = None

    def step(done: int, total: int) -> None:
        nonlocal progress
        progress = progress or Progress(name, total - done + 1, STATUS_SECONDS)
        progress.step("steps")

    return step


def silent(_done: int, _total: int) -> None:
    """Show nothing."""


def duration(seconds: float) -> str:
    """Return seconds as a person would say them: 45 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
