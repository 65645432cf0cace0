"""`meddiff synthesize`: a CT for an anatomy mask."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    AnatomyVersion,
    Anyway,
    OwnConfig,
    OwnModel,
    Seed,
    Threads,
    check_region,
    check_volume_out,
    naming,
    own_config,
    own_model,
)
from meddiff.config import Region


def synthesize(
    anatomy: Annotated[
        Path, typer.Option(help="Labels 0 to 118, 118 the rest of the body, a folder of structures, or SEG.")
    ],
    region: Annotated[Region, typer.Option(help="What the mask shows.")],
    out: Annotated[Path, typer.Option(help="CT in HU to write, e.g. ct.nii.gz.")],
    anatomy_version: AnatomyVersion = 2,
    anyway: Anyway = False,
    model: OwnModel = None,
    config: OwnConfig = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Draw a CT with the anatomy of a mask, on its grid; after an interruption the same command goes on."""
    check_volume_out(out, anatomy)
    check_region(region)
    from meddiff.anatomy.masks import read_mask, upright_labels
    from meddiff.anatomy.numbering import MaskFile
    from meddiff.machine.device import set_up_cpu
    from meddiff.tasks.fit import anatomy_misfits, check_fit
    from meddiff.tasks.sampler import Sampler
    from meddiff.tasks.synthesis import synthesize_mask
    from meddiff.volumes import volumes

    model = own_model(model)
    settings = own_config(config, model)
    set_up_cpu(threads)
    sampler = Sampler(model, settings.sampling, settings.machine)
    with naming(anatomy):
        mask = read_mask(MaskFile(anatomy, anatomy_version), sampler.model.spacing_mm)
        check_fit(anatomy_misfits(upright_labels(mask), region, sampler.model.scans), anyway)
    volumes.write_image(synthesize_mask(sampler, mask, region, settings.regions, seed, out), out)
