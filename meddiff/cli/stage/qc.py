"""`qc`, `qc_page` and `cohort`: pictures and numbers of prepared cases, a page of them, who has none left."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Manifest, Out, ResultsFolder, stage_config


def qc(
    config: ConfigFile,
    manifest: Manifest,
    resampled: Annotated[Path, typer.Option(help="Index of the shard's resampled scans.")],
    anatomy: Annotated[Path, typer.Option(help="Index of the shard's anatomy.")],
    regions: Annotated[Path, typer.Option(help="Index of the shard's regions.")],
    index: IndexOut,
    statistics: Annotated[Path, typer.Option(help="Table to write: HU and volumes of every region.")],
) -> None:
    """Draw a shard's cases, with regions and anatomy, and measure HU and volumes."""
    from meddiff.datasets.index import read_manifest
    from meddiff.stages.prepared import Prepared
    from meddiff.stages.qc import check_shard

    prepared = Prepared.read(resampled, anatomy, regions)
    check_shard(prepared, read_manifest(manifest), stage_config(config, "qc"), index, statistics)


def qc_page(config: ConfigFile, results: ResultsFolder) -> None:
    """Write the page that shows every case, and one table of the numbers of all shards."""
    from meddiff.report.layout import Results
    from meddiff.report.qc_page import write_page

    page = write_page(Results(results), stage_config(config, "qc_page"))
    typer.echo(f"quality control: {page}")


def cohort(results: ResultsFolder, out: Out) -> None:
    """Count the scans of each dataset that are used, and fail where a dataset has none."""
    from meddiff.report.cohort import write_cohort
    from meddiff.report.layout import Results

    write_cohort(Results(results), out)
