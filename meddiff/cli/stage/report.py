"""`twins` and `report`: draw the pictures and write the report."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, ResultsFolder, StoreIndices, stage_config


def twins(
    config: ConfigFile,
    store: StoreIndices,
    synthetic: Annotated[list[Path], typer.Option(help="Folders of synthetic scans, named by the models.")],
    index: IndexOut,
) -> None:
    """Draw the held-out scans beside their synthetic twins; a stopped call goes on."""
    from meddiff.config.stages import settings_of
    from meddiff.report.twins import draw_twins
    from meddiff.store.query import held_out, open_store

    records, folders = held_out(open_store(store)), {folder.name: folder for folder in synthetic}
    draw_twins(records, folders, settings_of(stage_config(config, "twins"), "twins"), index)


def report(
    config: ConfigFile,
    store: StoreIndices,
    results: ResultsFolder,
) -> None:
    """Write the report: tables, pictures, quarantined cases and provenance in one HTML file."""
    from meddiff.report.build import build_report
    from meddiff.report.layout import Results
    from meddiff.report.provenance import provenance

    settings = stage_config(config, "report")
    page = build_report(settings, Results(results), store, provenance(config, settings.seed))
    typer.echo(f"report: {page}")
