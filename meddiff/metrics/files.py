"""Tables of metrics, a row for each scan, region or patch, as the stages write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from meddiff.machine.files import temporary_beside


def read_metrics(path: Path) -> pd.DataFrame:
    """Return a table of metrics; an empty file is an empty table."""
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def write_metrics(rows: Sequence[dict[str, Any]], path: Path, keys: Sequence[str]) -> None:
    """Write a table of metrics, CSV; one without rows has the columns `keys` alone."""
    with temporary_beside(path) as temporary:
        pd.DataFrame(rows, columns=None if rows else list(keys)).to_csv(temporary, index=False)
