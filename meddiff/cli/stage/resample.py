"""`resample`: bring a shard's scans to the isotropic spacing."""

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


def resample(
    config: ConfigFile,
    manifest: Manifest,
    shard: Annotated[int, typer.Option(min=0, help="Which shard.")],
    index: IndexOut,
    threads: Workers = 1,
    memory_mb: MemoryMB = 16000,
) -> None:
    """Read a shard's scans, quarantine what is no CT, and resample the others."""
    one_thread_per_case()
    from meddiff.datasets.index import read_manifest
    from meddiff.stages.resample import resample as run

    cases = [case for case in read_manifest(manifest) if case.shard == shard]
    run(cases, stage_config(config, "resample"), index, threads, memory_mb)
