"""`meddiff low-dose`: pairs of noisy and clean scans; `meddiff red-cnn`: the baseline that is trained on them."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Manifest, Out, Pairs, StoreIndices, Threads, stage_config


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

    settings = stage_config(config, "low-dose")
    chosen = choose_sources(done_rows(store), read_manifest(manifest), settings.low_dose.scans)
    write_pairs(chosen, done_rows(resampled), settings, out, index)


def red_cnn(config: ConfigFile, pairs: Pairs, out: Out, threads: Threads = None) -> None:
    """Train RED-CNN on the training pairs."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.machine.shards import done_rows
    from meddiff.stages.denoise import train_red_cnn

    set_up_cpu(threads)
    train_red_cnn(done_rows([pairs]), stage_config(config, "red-cnn"), out)
