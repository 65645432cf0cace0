"""`meddiff report`: draw the pictures and write the report."""

import typer

from meddiff.cli.options import ConfigFile, ResultsFolder, StoreIndices, stage_config


def report(config: ConfigFile, store: StoreIndices, results: ResultsFolder) -> None:
    """Write the report: tables, pictures, quarantined cases and provenance in one HTML file."""
    from meddiff.report.build import build_report
    from meddiff.report.layout import Results
    from meddiff.report.provenance import provenance

    settings = stage_config(config, "report")
    page = build_report(settings, Results(results), store, provenance(config, settings.seed))
    typer.echo(f"report: {page}")
