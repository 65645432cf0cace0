"""`train_anatomy`: make the demo weights of TotalSegmentator anew."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, Out, stage_config


def train_anatomy(
    config: ConfigFile,
    raw: Annotated[Path, typer.Option(help="Folder of the demo data.")],
    work: Annotated[Path, typer.Option(help="Folder for nnU-Net's files; a stopped training goes on from them.")],
    out: Out,
) -> None:
    """Train the demo weights of TotalSegmentator with nnU-Net on phantoms and the demo's two labelled scans."""
    from meddiff.config import Region
    from meddiff.demo import train_weights

    settings = stage_config(config, "train_anatomy")
    labelled = {Region.CHEST: raw / "demo-chest" / "cxr", Region.ABDOMEN: raw / "demo-abdomen" / "abdomen"}
    train_weights.write_training_set(work / "raw", labelled, settings.windows, settings.anatomy.demo_phantoms)
    train_weights.export(train_weights.train(work, settings.anatomy.demo_epochs), out)
