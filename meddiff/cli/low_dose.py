"""`meddiff low-dose`: pairs of noisy and clean scans; `meddiff train-denoiser`: what is trained on them to compare."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    ConfigFile,
    IndexOut,
    Manifest,
    MaxMinutes,
    Out,
    Pairs,
    Runs,
    StoreIndices,
    Threads,
    stage_config,
)
from meddiff.config import TRAINED_DENOISERS
from meddiff.errors import UserError


def low_dose(
    config: ConfigFile,
    manifest: Manifest,
    resampled: Annotated[list[Path], typer.Option(help="Indices of the resampled scans.")],
    store: StoreIndices,
    out: Out,
    index: IndexOut,
) -> None:
    """Pair scans with their low-dose ones, or simulate low dose where no dataset has it."""
    from meddiff.datasets.index import read_manifest
    from meddiff.machine.shards import done_rows
    from meddiff.stages.low_dose import choose_sources, write_pairs
    from meddiff.store.query import open_store

    settings = stage_config(config, "low-dose")
    chosen = choose_sources(open_store(store), read_manifest(manifest), settings.low_dose.scans)
    write_pairs(chosen, done_rows(resampled), settings, out, index)


def train_denoiser(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(TRAINED_DENOISERS)}.")],
    config: ConfigFile,
    pairs: Pairs,
    runs: Runs,
    out: Out,
    max_minutes: MaxMinutes = float("inf"),
    threads: Threads = None,
) -> None:
    """Train a denoiser to compare with on the training pairs; the same command goes on after a stop."""
    if name not in TRAINED_DENOISERS:
        raise UserError(f"{name!r} is no denoiser that is trained here; choose from {', '.join(TRAINED_DENOISERS)}")
    from meddiff.machine.device import set_up_cpu
    from meddiff.machine.shards import done_rows
    from meddiff.stages.denoise import train_on_pairs

    set_up_cpu(threads)
    train_on_pairs(name, done_rows([pairs]), stage_config(config, name), runs, out, max_minutes)
