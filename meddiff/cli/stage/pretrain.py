"""`pretrain`: train a foundation model."""

from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, MaxMinutes, Out, Runs, StoreIndices, Threads, stage_config


def pretrain(
    config: ConfigFile,
    name: Annotated[str, typer.Option(help="Which of the configuration's models.")],
    store: StoreIndices,
    runs: Runs,
    out: Out,
    max_minutes: MaxMinutes = float("inf"),
    threads: Threads = None,
) -> None:
    """Train a model on the training split; the same command goes on after a stop."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.training.pretrain import pretrain as run

    set_up_cpu(threads)
    run(stage_config(config, "pretrain"), name, store, runs, out, max_minutes)
