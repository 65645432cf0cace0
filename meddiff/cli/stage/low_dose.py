"""`low_dose`: pairs of noisy and clean scans."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Manifest, StoreIndices, stage_config


def low_dose(
    config: ConfigFile,
    manifest: Manifest,
    resampled: Annotated[list[Path], typer.Option(help="Indices of the resampled scans.")],
    store: StoreIndices,
    index: IndexOut,
) -> None:
    """Pair scans with their low-dose ones, or simulate low dose where no dataset has it."""
    from meddiff.datasets.index import read_manifest
    from meddiff.machine.shards import done_rows
    from meddiff.stages.low_dose import choose_sources, write_pairs
    from meddiff.store.query import open_store

    settings = stage_config(config, "low_dose")
    chosen = choose_sources(open_store(store), read_manifest(manifest), settings.low_dose.scans)
    write_pairs(chosen, done_rows(resampled), settings, index)
