"""`tables`: turn metrics into the paper's tables."""

import typer

from meddiff.cli.options import ConfigFile, ResultsFolder, stage_config


def tables(config: ConfigFile, results: ResultsFolder) -> None:
    """Write Tables 1 to 6, those of augmentation and those of v3 as CSV, Markdown and LaTeX."""
    from meddiff.report.all_tables import TABLES
    from meddiff.report.layout import Results
    from meddiff.report.measured import Measured
    from meddiff.report.tables import write_table

    layout = Results(results)
    measured = Measured(stage_config(config, "tables"), layout)
    for table in TABLES:
        write_table(table.make(measured), table.metrics, layout.tables / table.name, table.caption)
    typer.echo((layout.tables / "table3.md").read_text())
