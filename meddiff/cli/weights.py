"""`meddiff weights`: bring the networks of others that the pipeline uses."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import OwnConfig, own_config


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
