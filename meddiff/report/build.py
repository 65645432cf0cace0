"""Gathering tables, pictures and provenance into the report."""

from pathlib import Path
from typing import Any

import pandas as pd

from meddiff.config import Config
from meddiff.data import volumes
from meddiff.data.index import read_manifest
from meddiff.data.shards import done_rows
from meddiff.data.store import Record
from meddiff.files import write_json
from meddiff.report import figures, table1, table3, table4, table5
from meddiff.report.html import Picture, quarantine_list, write_report
from meddiff.report.layout import Results, made_with
from meddiff.report.tables import for_people
from meddiff.tasks.synthesis import held_out_rows

TABLES = {
    "Table 1": ("table1", table1.CAPTION, table1.METRICS),
    "Table 3": ("table3", table3.CAPTION, table3.METRICS),
    "Table 3, organ by organ": ("table3_organs", table3.ORGANS_CAPTION, table3.ORGAN_METRICS),
    "Table 4": ("table4", table4.CAPTION, table4.METRICS),
    "Table 5": ("table5", table5.CAPTION, table5.METRICS),
}


def build_report(config: Config, results: Results, store: list[Path], origin: dict[str, Any]) -> Path:
    """Draw the pictures, write `provenance.json` and the page, and return the page's path.

    Args:
        config: the sections of the stage `report`.
        results: the output folder.
        store: indices of the crop store.
        origin: what `provenance` returned.
    """
    models = [variant.name for variant in config.models]
    write_json(origin, results.root / "provenance.json")
    pictures = [*_comparisons(results, store, models), _curves(results, models)]
    tables = {}
    for title, (stem, caption, metrics) in TABLES.items():
        text = for_people(pd.read_csv(results.tables / f"{stem}.csv"), metrics)
        tables[title] = (caption, text.drop(columns="made_with"))
    note = made_with(config, read_manifest(results.manifest), results.extractor_source)
    page = results.root / "report" / "index.html"
    write_report(page, tables, pictures, quarantine_list(results.prepared), origin, note)
    return page


def _comparisons(results: Results, store: list[Path], models: list[str]) -> list[Picture]:
    pictures = []
    for row in held_out_rows(done_rows(store)):
        record = Record(row.path.parent)
        files = {model: results.synthetic(model) / f"{row.id}.nii.gz" for model in models}
        synthetic = {model: volumes.to_zyx(volumes.read_image(path)) for model, path in files.items() if path.exists()}
        path = results.figures / f"synthesis_{row.id}.png"
        figures.comparison(record, synthetic, path)
        pictures.append(Picture(path, f"{row.id}: held-out scan and its synthetic twins, same anatomy, middle planes"))
    return pictures


def _curves(results: Results, models: list[str]) -> Picture:
    stats = {model: pd.read_json(results.training_statistics(model), lines=True) for model in models}
    path = results.figures / "training.png"
    figures.training_curves(stats, path)
    return Picture(path, "Training loss, and validation loss where there is a validation split")
