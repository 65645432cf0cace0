"""The scores of all shards of one method in one table; without the networks that made them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.machine.files import read_json
from meddiff.machine.shards import done_rows, sidecar


def gather(indices: Iterable[Path]) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the metrics of all shards and their features, (scans, tiles, C), in an order that no shard decides."""
    rows = sorted(done_rows(indices), key=lambda row: row.id)
    metrics = [read_json(sidecar(row.path))["details"] for row in rows]
    features = [np.load(row.path)["features"] for row in rows]
    return metrics, np.stack(features) if features else np.zeros((0, 0, 0))
