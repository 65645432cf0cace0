"""`meddiff extractor`: provide the feature network of the metrics."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, Out, stage_config


def extractor(
    config: ConfigFile, out: Out, source: Annotated[Path, typer.Option(help="File that tells what the weights are.")]
) -> None:
    """Provide MedicalNet's weights, or seeded random ones, as the configuration says."""
    from meddiff.metrics.extractor import prepare

    settings = stage_config(config, "extractor")
    prepare(settings.evaluation, settings.seed, out, source)
