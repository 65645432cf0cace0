"""`meddiff finetune`: train a ControlNet for a foundation model."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, MaxMinutes, Out, Runs, StoreIndices, Threads, stage_config
from meddiff.config import ORIGINS
from meddiff.errors import UserError


def finetune(
    config: ConfigFile,
    model: Annotated[Path, typer.Option(help="Folder of the foundation model's bundle.")],
    store: StoreIndices,
    runs: Runs,
    out: Out,
    dataset: Annotated[str | None, typer.Option(help="Lesion dataset; none: super-resolution.")] = None,
    measured: Annotated[list[Path] | None, typer.Option(help="Index of measured slices to learn from.")] = None,
    origin: Annotated[str, typer.Option(help=f"Of a lesion model: {' or '.join(ORIGINS)}.")] = ORIGINS[-1],
    max_minutes: MaxMinutes = float("inf"),
    threads: Threads = None,
) -> None:
    """Train on lesion patches with their masks, or on patches with their thick slices, as the condition.

    The same command goes on after a stop. A model from scratch learns without the pretrained weights.
    """
    if origin not in ORIGINS:
        raise UserError(f"--origin {origin!r} is unknown; choose from {', '.join(ORIGINS)}")
    from meddiff.machine.device import set_up_cpu
    from meddiff.model.foundation import read_network_config
    from meddiff.training import finetune

    set_up_cpu(threads)
    place = finetune.Place(model, runs, out, max_minutes)
    settings = stage_config(config, "finetune-lesions" if dataset else "finetune-super-resolution")
    if dataset is None:
        finetune.finetune(finetune.super_resolution_task(settings, store, measured or []), settings, place)
        return
    task = finetune.lesion_task(settings, dataset, store, read_network_config(model).patch_vox)
    train = finetune.train_from_scratch if origin == "scratch" else finetune.finetune
    train(task, settings, place)
