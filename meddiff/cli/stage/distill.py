"""`distill`: a model that samples in few steps."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, MaxMinutes, Out, Runs, StoreIndices, Threads, stage_config


def distill(
    config: ConfigFile,
    model: Annotated[Path, typer.Option(help="Folder of the bundle to distil.")],
    store: StoreIndices,
    runs: Runs,
    out: Out,
    max_minutes: MaxMinutes = float("inf"),
    threads: Threads = None,
) -> None:
    """Bring a model's sampling steps down to a few; the same command goes on after a stop."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.training.distill import distill as run

    set_up_cpu(threads)
    run(stage_config(config, "distill"), model, store, runs, out, max_minutes)
