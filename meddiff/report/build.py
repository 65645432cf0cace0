"""Gathering tables, pictures and provenance into the report."""

from pathlib import Path
from typing import Any

import pandas as pd

from meddiff.config import Config
from meddiff.datasets.index import read_manifest
from meddiff.machine.files import write_json
from meddiff.report import table1, table2, table3, table4, table5, table6, table_sr, table_v3
from meddiff.report.html import quarantine_list, write_report
from meddiff.report.layout import Results, made_with
from meddiff.report.pictures import draw_pictures
from meddiff.report.tables import for_people
from meddiff.report.twins import write_page
from meddiff.store.query import held_out, open_store

TABLES = {
    "Table 1": ("table1", table1.CAPTION, table1.METRICS),
    "Table 2": ("table2", table2.CAPTION, table2.METRICS),
    "Table 3": ("table3", table3.CAPTION, table3.METRICS),
    "Table 3, organ by organ": ("table3_organs", table3.ORGANS_CAPTION, table3.ORGAN_METRICS),
    "Ablation of v3": ("table3_ablation", table_v3.ABLATION_CAPTION, table_v3.ABLATION_METRICS),
    "Table 4": ("table4", table4.CAPTION, table4.METRICS),
    "Table 5": ("table5", table5.CAPTION, table5.METRICS),
    "Anomalies in BMAD's livers, v3": ("table5_bmad", table_v3.BMAD_CAPTION, table_v3.BMAD_METRIC_NAMES),
    "Table 6": ("table6", table6.CAPTION, table6.METRICS),
    "Augmentation with generated lesions": (
        "table6_augmentation",
        table6.AUGMENTATION_CAPTION,
        table6.AUGMENTATION_METRICS,
    ),
    "Super-resolution": ("table_sr", table_sr.CAPTION, table_sr.METRICS),
}


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
    for title, (stem, caption, metrics) in TABLES.items():
        text = for_people(pd.read_csv(results.tables / f"{stem}.csv"), metrics)
        tables[title] = (caption, text.drop(columns="made_with"))
    note = made_with(config, cases, results.extractor_source)
    models = [variant.name for variant in config.models]
    write_page(results, held_out(open_store(store)), models, note)
    page = results.report / "index.html"
    write_report(page, tables, pictures, quarantine_list(results.prepared), origin, note)
    return page
