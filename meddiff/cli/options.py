"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.config import Config, load_config
from meddiff.stages import restrict

ConfigFile = Annotated[Path, typer.Option("--config", help="Configuration, YAML.")]
Out = Annotated[Path, typer.Option("--out", help="Folder or file to write.")]
IndexOut = Annotated[Path, typer.Option("--index", help="Index to write: a line per case with status and reason.")]
Manifest = Annotated[Path, typer.Option(help="Manifest that `meddiff index` wrote.")]
StoreIndices = Annotated[list[Path], typer.Option("--store", help="Indices of the crop store.")]
ResultsFolder = Annotated[Path, typer.Option("--results", help="Output folder of the pipeline.")]
Runs = Annotated[Path, typer.Option(help="Folder of checkpoints and statistics.")]
MaxMinutes = Annotated[float, typer.Option(help="Stop with a checkpoint and exit 75 after this time.")]
Threads = Annotated[int, typer.Option(help="Threads; never more than there are cores.")]


def stage_config(path: Path, stage: str) -> Config:
    """Return the configuration with only what the stage may read."""
    return restrict(load_config(path), stage)
