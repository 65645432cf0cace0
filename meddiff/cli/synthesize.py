"""`meddiff synthesize`: a CT for an anatomy mask."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    AnatomyVersion,
    Anyway,
    Device,
    OwnConfig,
    OwnModel,
    Seed,
    Threads,
    check_region,
    check_volume_out,
    open_model,
)
from meddiff.config import Region


def synthesize(
    anatomy: Annotated[
        Path, typer.Option(help="Labels 0 to 118, 118 the rest of the body, a folder of structures, or SEG.")
    ],
    region: Annotated[Region, typer.Option(help="What the mask shows.")],
    out: Annotated[Path, typer.Option(help="CT in HU to write, e.g. ct.nii.gz.")],
    anatomy_version: AnatomyVersion = 2,
    preview: Annotated[
        bool, typer.Option("--preview", help="A coarse CT in seconds: the whole region in one window, interpolated.")
    ] = False,
    anyway: Anyway = False,
    model: OwnModel = None,
    config: OwnConfig = None,
    seed: Seed = 0,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw a CT with the anatomy of a mask, on its grid; after an interruption the same command goes on."""
    check_volume_out(out, anatomy)
    check_region(region)
    opened = open_model(model, config, device, threads, anyway)
    from meddiff.anatomy.numbering import MaskFile

    opened.synthesize(MaskFile(anatomy, anatomy_version), region, seed, out, preview)
