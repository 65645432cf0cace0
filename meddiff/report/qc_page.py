"""The page on which a person looks through all cases: pictures, numbers, and why a case was quarantined."""

import os
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from meddiff.config import Config
from meddiff.datasets.index import Case, read_manifest
from meddiff.machine.files import write_text
from meddiff.machine.shards import done_rows
from meddiff.machine.tsv import read_tsv, write_tsv
from meddiff.report.html import notes_list, quarantine_list
from meddiff.report.layout import Results, scans_and_anatomy
from meddiff.stages.qc import STATISTICS

SHOWN = ("region", "evidence", "source_size_xyz", "source_spacing_mm", "p01_hu", "p50_hu", "p99_hu",
         "below_window", "above_window", "body_ml", "lung_ml", "liver_ml")  # fmt: skip


def write_page(results: Results, config: Config) -> Path:
    """Write `index.html` and `statistics.tsv` out of the tables of all shards, and return the page.

    The page holds the cases as JSON and makes elements for those that are looked at, so it does not slow down with
    their number; pictures are links relative to it, and it needs neither network nor server.
    """
    page = results.qc / "index.html"
    numbers = [row for path in sorted(results.qc.glob("statistics-*.tsv")) for row in read_tsv(path)]
    write_tsv(numbers, STATISTICS, results.qc / "statistics.tsv")
    manifest = read_manifest(results.manifest)
    pictures = {row.id: quote(os.path.relpath(row.path, page.parent)) for row in done_rows(results.checked)}
    stages = results.prepared | {"qc": results.checked}
    cases = describe_cases(manifest, quarantine_list(stages), notes_list(results.prepared), pictures, numbers)
    environment = Environment(loader=PackageLoader("meddiff.report"), autoescape=True)
    text = environment.get_template("qc.html").render(cases=cases, made_with=scans_and_anatomy(config, manifest))
    write_text(text, page)
    return page


def describe_cases(
    manifest: list[Case],
    problems: list[dict[str, str]],
    notes: list[dict[str, str]],
    pictures: dict[str, str],
    numbers: list[dict[str, str]],
) -> list[dict[str, Any]]:
    """Return one JSON value per case of the manifest.

    Args:
        manifest: all cases.
        problems: rows of `quarantine_list`; the stage `store` names a region of a case.
        notes: rows of `notes_list`, likewise.
        pictures: case id -> address of its picture, where there is one.
        numbers: rows of the shards' statistics.
    """
    reasons, left_out, regions = defaultdict(list), defaultdict(list), defaultdict(list)
    for rows, found in ((problems, reasons), (notes, left_out)):
        for row in rows:
            of_case = {name: value for name, value in row.items() if name != "case"}
            case_id = row["case"].rsplit("_", 1)[0] if row["stage"] == "store" else row["case"]
            if of_case not in found[case_id]:  # the regions of a case have the same lesions
                found[case_id].append(of_case)
    for row in numbers:
        regions[row["id"]].append({name: row[name] for name in SHOWN})
    return [
        {
            "id": case.id,
            "dataset": case.dataset,
            "split": case.split,
            "picture": pictures.get(case.id, ""),
            "problems": reasons[case.id],
            "notes": left_out[case.id],
            "regions": regions[case.id],
        }
        for case in manifest
    ]
