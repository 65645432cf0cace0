"""`regions`: find head and neck, chest and abdomen in a shard's scans."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Manifest, stage_config


def regions(
    config: ConfigFile,
    manifest: Manifest,
    anatomy: Annotated[Path, typer.Option(help="Index of the shard's anatomy.")],
    index: IndexOut,
) -> None:
    """Write the boxes of the anatomical regions of a shard's scans."""
    from meddiff.datasets.index import read_manifest
    from meddiff.machine.shards import done_rows
    from meddiff.stages.regions import regions as run

    run(done_rows([anatomy]), read_manifest(manifest), stage_config(config, "regions"), index)
