"""`meddiff tables`: turn metrics into the paper's tables."""

import typer

from meddiff.cli.options import ConfigFile, ResultsFolder, stage_config


def tables(config: ConfigFile, results: ResultsFolder) -> None:
    """Write Tables 1, 3, 4, 5 and the Dice organ by organ as CSV, Markdown and LaTeX."""
    import numpy as np
    import pandas as pd

    from meddiff.config import DENOISERS
    from meddiff.data.index import read_manifest
    from meddiff.report import table1, table3, table4, table5
    from meddiff.report.layout import Results, made_with, scans_and_anatomy
    from meddiff.report.tables import read_metrics, write_table

    settings, layout = stage_config(config, "tables"), Results(results)
    cases = read_manifest(layout.manifest)
    first = table1.table1(settings.data, cases, layout.prepared)
    write_table(first, table1.METRICS, layout.tables / "table1", table1.CAPTION)

    methods = [*(variant.name for variant in settings.models), "real"]
    scores = {name: pd.read_csv(layout.metrics(name)) for name in methods}
    features = {name: np.load(layout.features(name))["features"] for name in methods}
    note = made_with(settings, cases, layout.extractor_source)
    draws = settings.evaluation.bootstrap_draws
    third = table3.table3(scores, features, draws, note)
    write_table(third, table3.METRICS, layout.tables / "table3", table3.CAPTION)
    organs = table3.organ_table(scores, draws, note)
    write_table(organs, table3.ORGAN_METRICS, layout.tables / "table3_organs", table3.ORGANS_CAPTION)

    source = scans_and_anatomy(settings, cases)
    fourth = table4.table4({name: read_metrics(layout.denoising_metrics(name)) for name in DENOISERS}, draws, source)
    write_table(fourth, table4.METRICS, layout.tables / "table4", table4.CAPTION)
    fifth = table5.table5(read_metrics(layout.anomaly_metrics), source)
    write_table(fifth, table5.METRICS, layout.tables / "table5", table5.CAPTION)
    typer.echo((layout.tables / "table3.md").read_text())
