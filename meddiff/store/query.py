"""Which records a stage works on: all of a store, or those of a dataset, role, split or kind."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.machine.shards import done_rows
from meddiff.store.record import Record


def open_store(indices: Iterable[Path]) -> list[Record]:
    """Return the finished records of a store's shards, sorted by id."""
    return [Record(row.path.parent, row.sha256) for row in done_rows(indices)]


def where(records: Iterable[Record], **wanted: Any) -> list[Record]:
    """Return the records whose `meta` has these values, as in `where(records, role="pretraining", split="test")`."""
    return [r for r in records if all(getattr(r.meta, name) == value for name, value in wanted.items())]


def held_out(records: Iterable[Record]) -> list[Record]:
    """Return the test split of the pretraining's datasets."""
    return where(records, role="pretraining", split="test")


def labelled(records: Iterable[Record]) -> list[Record]:
    """Return the records with lesion labels."""
    return [record for record in records if record.lesion is not None]


def with_lesions(records: Iterable[Record]) -> list[Record]:
    """Return the records in which there is at least one lesion voxel."""
    return [record for record in labelled(records) if np.any(record.lesion[:])]


def by_dataset(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each dataset."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.meta.dataset, []).append(record)
    return groups
