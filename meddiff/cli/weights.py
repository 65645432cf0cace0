"""`meddiff weights` and `meddiff anatomy-weights`: bring the networks of others that the pipeline uses."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, Out, OwnConfig, own_config, stage_config


def weights(
    config: OwnConfig = None,
    to: Annotated[Path | None, typer.Option(help="Folder for a machine without network; none: the cache.")] = None,
) -> None:
    """Bring TotalSegmentator's and MedicalNet's weights, as far as the configuration uses them."""
    from meddiff.anatomy import official_weights
    from meddiff.metrics import medicalnet_weights

    settings = own_config(config)
    if settings.anatomy.weights == "official":
        typer.echo(official_weights.fetch(settings.anatomy, to / "totalsegmentator" if to else None))
    if settings.evaluation.weights != "random":
        typer.echo(medicalnet_weights.provide(settings.evaluation.network, to / "medicalnet" if to else None))
    if to:
        typer.echo(f"Where there is no network: copy the folder and `export MEDDIFF_CACHE={to.absolute()}`")


def anatomy_weights(config: ConfigFile, out: Out) -> None:
    """Bring TotalSegmentator's weights once for all jobs that segment, and write what they are."""
    from meddiff.anatomy import demo_weights, official_weights
    from meddiff.machine.files import sha256, write_json

    anatomy = stage_config(config, "anatomy-weights").anatomy
    if anatomy.weights == "official":
        folder = official_weights.fetch(anatomy)
        files = {model.name: model.checkpoint(folder) for model in official_weights.models(anatomy)}
    else:
        files = {demo_weights.DATASET: demo_weights.STORED / "weights.safetensors"}
    write_json({"weights": anatomy.weights, "sha256": {name: sha256(path) for name, path in files.items()}}, out)
