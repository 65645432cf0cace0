"""The cases that all methods of a table have: only on the same cases are their rows to be compared."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

log = logging.getLogger(__name__)

NAMED = 5  # cases that a note names; the log names them all


@dataclass(frozen=True)
class CommonCases:
    """The cases, and what to say of those that some method lacks; empty where none lacks any."""

    ids: frozenset[str]
    note: str

    def rows(self, table: pd.DataFrame) -> np.ndarray:
        """Return which rows of a method's table are of common cases, (rows,) bool."""
        return table["id"].isin(self.ids).to_numpy() if len(table) else np.zeros(0, bool)

    def select(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """Return the rows of common cases of each method's table."""
        return {name: table[self.rows(table)] for name, table in tables.items()}


def common_cases(table: str, tables: Mapping[str, pd.DataFrame]) -> CommonCases:
    """Return the cases that all methods have, and log which of them lack which others.

    A method without any case was not run: it is absent from the table and takes no case from the others.

    Args:
        table: its name for the log and the note.
        tables: method -> rows with a column `id`.
    """
    return common_ids(table, {name: rows["id"] for name, rows in tables.items() if len(rows)})


def common_ids(table: str, ids_of: Mapping[str, Collection[str]]) -> CommonCases:
    """The same for the ids of each method's cases."""
    present = {name: frozenset(ids) for name, ids in ids_of.items() if len(ids)}
    if not present:
        return CommonCases(frozenset(), "")
    every, shared = frozenset.union(*present.values()), frozenset.intersection(*present.values())
    lacking = {name: sorted(every - ids) for name, ids in present.items() if ids != every}
    for name, ids in lacking.items():
        log.warning("%s: %s lacks %d of %d cases: %s", table, name, len(ids), len(every), ", ".join(ids))
    if not lacking:
        return CommonCases(shared, "")
    lacks = ", ".join(f"{name} lacks {len(ids)} ({_some(ids)})" for name, ids in lacking.items())
    return CommonCases(shared, f"; {table} on the {len(shared)} of {len(every)} cases that all have: {lacks}")


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
