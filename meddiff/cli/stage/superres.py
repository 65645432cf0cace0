"""Thin slices out of thick ones: `thick_slices`, `measured_slices` and `super_resolve`."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Manifest, ModelBundle, StoreIndices, Threads, stage_config
from meddiff.config import SUPER_RESOLVERS

Control = Annotated[Path, typer.Option(help="Folder of the ControlNet's bundle.")]


def thick_slices(
    config: ConfigFile,
    manifest: Manifest,
    resampled: Annotated[list[Path], typer.Option(help="Indices of the resampled scans.")],
    store: StoreIndices,
    index: IndexOut,
) -> None:
    """Pair test scans with their thick slices, or simulate them where no dataset has any."""
    from meddiff.datasets.index import read_manifest
    from meddiff.machine.shards import done_rows
    from meddiff.stages.superres import choose_thick, write_thick
    from meddiff.store.query import open_store

    settings = stage_config(config, "thick_slices")
    chosen = choose_thick(open_store(store), read_manifest(manifest), settings.super_resolution.scans)
    write_thick(chosen, done_rows(resampled), settings, index)


def measured_slices(config: ConfigFile, manifest: Manifest, store: StoreIndices, index: IndexOut) -> None:
    """Bring the thick slices of training scans, where a dataset has them, onto the voxels of their regions."""
    from meddiff.datasets.index import read_manifest
    from meddiff.stages.superres import choose_learned, write_learned
    from meddiff.store.query import open_store

    chosen = choose_learned(open_store(store), read_manifest(manifest))
    write_learned(chosen, stage_config(config, "measured_slices"), index)


def super_resolve(
    config: ConfigFile,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(SUPER_RESOLVERS)}.")],
    thick: Annotated[Path, typer.Option(help="Index that `thick_slices` wrote.")],
    store: StoreIndices,
    model: ModelBundle,
    control: Control,
    index: IndexOut,
    metrics: Annotated[Path, typer.Option(help="Table of metrics to write, CSV.")],
    threads: Threads = None,
) -> None:
    """Make thin slices with one method and score them."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.machine.files import read_json
    from meddiff.machine.shards import done_rows, sidecar
    from meddiff.metrics.files import write_metrics
    from meddiff.stages.superres import prepare_method, super_resolve_all
    from meddiff.store.query import open_store

    set_up_cpu(threads)
    settings = stage_config(config, "super_resolve")
    prepared = prepare_method(method, settings, Path(model), control)
    super_resolve_all(prepared, done_rows([thick]), open_store(store), settings, index)
    table = [{"id": row.id, **read_json(sidecar(row.path))["details"]} for row in done_rows([index])]
    write_metrics(table, metrics, ("id", "region"))
