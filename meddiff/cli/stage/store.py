"""`store`: write a shard's regions to the crop store."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    ConfigFile,
    IndexOut,
    Manifest,
    MemoryMB,
    Workers,
    one_thread_per_case,
    stage_config,
)


def store(
    config: ConfigFile,
    manifest: Manifest,
    resampled: Annotated[Path, typer.Option(help="Index of the shard's resampled scans.")],
    anatomy: Annotated[Path, typer.Option(help="Index of the shard's anatomy.")],
    regions: Annotated[Path, typer.Option(help="Index of the shard's regions.")],
    index: IndexOut,
    threads: Workers = 1,
    memory_mb: MemoryMB = 16000,
) -> None:
    """Cut a shard's scans to their regions and windows and store them for training."""
    one_thread_per_case()
    from meddiff.datasets.index import read_manifest
    from meddiff.stages.prepared import Prepared
    from meddiff.stages.store import store as run

    prepared = Prepared.read(resampled, anatomy, regions)
    run(prepared, read_manifest(manifest), stage_config(config, "store"), index, threads, memory_mb)
