"""The rows of Table 4: `train_denoiser`, `filter_pairs` and `denoise_pairs`."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, MaxMinutes, ModelBundle, Out, Pairs, Runs, Threads, stage_config
from meddiff.config import TRAINED_DENOISERS
from meddiff.errors import UserError

Denoised = Annotated[Path, typer.Option("--out", help="Folder of the denoised scans, a folder for each method.")]
DenoisingMetrics = Annotated[Path, typer.Option("--metrics", help="Folder of the metrics, a table for each method.")]


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
    train_on_pairs(name, done_rows([pairs]), stage_config(config, "train_denoiser"), runs, out, max_minutes)


def filter_pairs(
    config: ConfigFile,
    pairs: Pairs,
    out: Denoised,
    metrics: DenoisingMetrics,
    threads: Threads = None,
) -> None:
    """Denoise the test pairs with every method that has no network, and score them."""
    from meddiff.config import FILTERS
    from meddiff.machine.device import set_up_cpu
    from meddiff.machine.shards import done_rows
    from meddiff.metrics.files import write_metrics
    from meddiff.stages.denoise import filter_pairs as run

    set_up_cpu(threads)
    settings, rows = stage_config(config, "filter_pairs"), done_rows([pairs])
    for method in FILTERS:
        scores = run(method, rows, settings, out / method)
        write_metrics(scores, metrics / f"{method}.csv", ("id", "region"))


def denoise_pairs(
    config: ConfigFile,
    pairs: Pairs,
    model: ModelBundle,
    trained: Annotated[Path, typer.Option(help="Folder of the folders of the trained denoisers.")],
    out: Denoised,
    metrics: DenoisingMetrics,
    threads: Threads = None,
) -> None:
    """Denoise the test pairs with every network, and score them."""
    from meddiff.config import DENOISING_NETWORKS
    from meddiff.machine.device import set_up_cpu
    from meddiff.machine.shards import done_rows
    from meddiff.metrics.files import write_metrics
    from meddiff.stages.denoise import denoise_pairs as run

    set_up_cpu(threads)
    settings, rows = stage_config(config, "denoise_pairs"), done_rows([pairs])
    for method in DENOISING_NETWORKS:
        scores = run(method, rows, settings, Path(model), trained, out / method)
        write_metrics(scores, metrics / f"{method}.csv", ("id", "region"))
