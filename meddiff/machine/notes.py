"""What was left out of an input, said in the log and in the row of the case that is worked on.

Readers call `note`; whoever works on cases one by one (`meddiff.machine.shards`) collects what was noted on each.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)

_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)


def note(text: str) -> None:
    """Say that part of an input is not used: one line with counts, without names of files or identifiers."""
    log.info("%s", text)
    if (notes := _notes.get()) is not None and text not in notes:
        notes.append(text)


@contextmanager
def noted() -> Iterator[list[str]]:
    """Give a list that fills with what is noted in this thread until the block ends."""
    notes: list[str] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)
