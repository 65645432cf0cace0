"""ControlNets for a foundation model: `finetune_lesions` and `finetune_super_resolution`."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, MaxMinutes, Out, Runs, StoreIndices, Threads, stage_config
from meddiff.config import ORIGINS
from meddiff.errors import UserError

Foundation = Annotated[Path, typer.Option("--model", help="Folder of the foundation model's bundle.")]


def finetune_lesions(
    config: ConfigFile,
    dataset: Annotated[str, typer.Option(help="Lesion dataset.")],
    origin: Annotated[str, typer.Option(help=" or ".join(ORIGINS))],
    model: Foundation,
    store: StoreIndices,
    runs: Runs,
    out: Out,
    max_minutes: MaxMinutes = float("inf"),
    threads: Threads = None,
) -> None:
    """Train on a dataset's lesion patches with their masks as the condition; the same command goes on after a stop.

    A model from scratch learns without the pretrained weights.
    """
    if origin not in ORIGINS:
        raise UserError(f"--origin {origin!r} is unknown; choose from {', '.join(ORIGINS)}")
    from meddiff.machine.device import set_up_cpu
    from meddiff.model.foundation import read_network_config
    from meddiff.training import finetune

    set_up_cpu(threads)
    settings = stage_config(config, "finetune_lesions")
    task = finetune.lesion_task(settings, dataset, store, read_network_config(model).patch_vox)
    train = finetune.train_from_scratch if origin == "scratch" else finetune.finetune
    train(task, settings, finetune.Place(model, runs, out, max_minutes))


def finetune_super_resolution(
    config: ConfigFile,
    model: Foundation,
    store: StoreIndices,
    runs: Runs,
    out: Out,
    measured: Annotated[list[Path] | None, typer.Option(help="Index of measured slices to learn from.")] = None,
    max_minutes: MaxMinutes = float("inf"),
    threads: Threads = None,
) -> None:
    """Train on patches with their thick slices as the condition; the same command goes on after a stop."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.training import finetune

    set_up_cpu(threads)
    settings = stage_config(config, "finetune_super_resolution")
    task = finetune.super_resolution_task(settings, store, measured or [])
    finetune.finetune(task, settings, finetune.Place(model, runs, out, max_minutes))
