"""The registry as people read it: a table for the terminal, the same as JSON, and the table in docs/data.md."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from meddiff.config import DatasetConfig
from meddiff.datasets import PUBLISHED, Dataset, resolve
from meddiff.datasets.layout import Layout
from meddiff.errors import UserError

MARKER = "<!-- generated: meddiff datasets --markdown -->"


def catalogue(root: Path | None, configured: tuple[DatasetConfig, ...]) -> list[dict[str, Any]]:
    """Return one record for every published dataset, and for those that a configuration adds.

    Args:
        root: a folder that holds datasets in folders of their names.
        configured: datasets with roots of their own; these come first.
    """
    entries = {dataset.name: dataset for dataset in PUBLISHED}
    if root:
        entries = {name: replace(dataset, root=root / name) for name, dataset in entries.items()}
    entries |= {entry.name: resolve(entry, Path("results/data/raw")) for entry in configured}
    return [_record(dataset) for dataset in entries.values()]


def as_table(records: list[dict[str, Any]]) -> str:
    """Return aligned columns without the steps, and a line for each folder that has another layout than expected."""
    names = ("name", "region", "expected", "found", "licence", "get")
    rows = [names, *(tuple("" if r[n] is None else str(r[n]) for n in names) for r in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    lines = ["  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(record["problem"] for record in records if record["problem"])])


def as_markdown() -> str:
    """Return the table of docs/data.md."""
    lines = [
        MARKER,
        "",
        "| name | dataset | region | cases | files below the root | lesions | licence | how to get it |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset in PUBLISHED:
        image = ", ".join(f"`{pattern}`" for pattern in dataset.image)
        get = f"[page]({dataset.page}): {dataset.steps or f'`meddiff download {dataset.name}`'}"
        licence = f"{dataset.licence} ✓" if dataset.weights_may_be_shared else dataset.licence
        facts = (dataset.region.value, str(dataset.cases_expected), image, _lesions(dataset), licence, get)
        lines.append(f"| `{dataset.name}` | {dataset.title} | {' | '.join(facts)} |")
    return "\n".join(lines) + "\n"


def _lesions(dataset: Dataset) -> str:
    if not dataset.lesion:
        return "thick slices" if dataset.thick else "quarter dose" if dataset.low_dose else ""
    values = ", ".join(map(str, dataset.lesion_values))
    return f"label {values}" if values else "every label"


def _record(dataset: Dataset) -> dict[str, Any]:
    found, problem = _count(dataset)
    return {
        "name": dataset.name,
        "title": dataset.title,
        "region": dataset.region.value,
        "role": dataset.role,
        "expected": dataset.cases_expected,
        "found": found,
        "problem": problem,
        "licence": dataset.licence,
        "get": f"meddiff download {dataset.name}" if dataset.files else dataset.page,
        "steps": dataset.steps,
        "page": dataset.page,
        "files": [file.url for file in dataset.files],
        "root": str(dataset.root) if dataset.root else None,
    }


def _count(dataset: Dataset) -> tuple[int | None, str]:
    """Return how many cases lie below the root, None where no root is known, and what is wrong with the root."""
    if dataset.root is None:
        return None, ""
    if not dataset.root.exists():
        return 0, ""
    try:
        return len(Layout(dataset).cases()), ""
    except UserError as error:
        return 0, str(error)
