"""Gathering tables, pictures and provenance into the report."""

from pathlib import Path
from typing import Any

import pandas as pd

from meddiff.config import Config
from meddiff.datasets.index import read_manifest
from meddiff.machine.files import write_json
from meddiff.report.all_tables import TABLES
from meddiff.report.html import quarantine_list, write_report
from meddiff.report.layout import Results, made_with
from meddiff.report.pictures import draw_pictures
from meddiff.report.tables import for_people
from meddiff.report.twins import write_page
from meddiff.store.query import held_out, open_store


def build_report(config: Config, results: Results, store: list[Path], origin: dict[str, Any]) -> Path:
    """Draw the pictures, write `provenance.json` and the page, and return the page's path.

    Args:
        config: the sections of the stage `report`.
        results: the output folder.
        store: indices of the crop store.
        origin: what `provenance` returned.
    """
    cases = read_manifest(results.manifest)
    write_json(origin, results.root / "provenance.json")
    pictures = draw_pictures(config, results, store, cases)
    tables = {}
    for table in TABLES:
        text = for_people(pd.read_csv(results.tables / f"{table.name}.csv"), table.metrics)
        tables[table.title] = (table.caption, text.drop(columns="made_with"))
    note = made_with(config, cases, results.extractor_source)
    models = [variant.name for variant in config.models]
    write_page(results, held_out(open_store(store)), models, note)
    page = results.report / "index.html"
    write_report(page, tables, pictures, quarantine_list(results.prepared), origin, note)
    return page
