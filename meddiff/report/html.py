"""The report: one HTML file with everything in it."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from meddiff.machine.files import write_text
from meddiff.machine.shards import QUARANTINED, Row, read_index


@dataclass(frozen=True)
class Picture:
    """A PNG file with its caption."""

    path: Path
    caption: str

    @property
    def data(self) -> str:
        """The picture as a `data:` address, so that the page needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


def write_report(
    path: Path,
    tables: dict[str, tuple[str, pd.DataFrame]],
    pictures: list[Picture],
    quarantine: list[dict[str, str]],
    provenance: dict[str, Any],
    made_with: str,
) -> None:
    """Write the page.

    Args:
        path: the file.
        tables: title -> caption and table, already as text.
        pictures: in their order.
        quarantine: rows of `quarantine_list`.
        provenance: what made the results.
        made_with: one line on data, weights and extractor.
    """
    environment = Environment(loader=PackageLoader("meddiff.report"), autoescape=True)
    page = environment.get_template("report.html").render(
        tables=tables, pictures=pictures, quarantine=quarantine, provenance=provenance, made_with=made_with
    )
    write_text(page, path)


def quarantine_list(indices: dict[str, list[Path]]) -> list[dict[str, str]]:
    """Return every quarantined case with the stage that refused it and the reason."""
    return [
        {"case": row.id, "stage": stage, "reason": row.reason}
        for stage, row in _rows(indices)
        if row.status == QUARANTINED
    ]


def notes_list(indices: dict[str, list[Path]]) -> list[dict[str, str]]:
    """Return what each stage left out of the input of a case that it could use."""
    return [{"case": row.id, "stage": stage, "note": row.notes} for stage, row in _rows(indices) if row.notes]


def _rows(indices: dict[str, list[Path]]) -> Iterator[tuple[str, Row]]:
    return ((stage, row) for stage, paths in indices.items() for path in paths for row in read_index(path))
