"""`meddiff superres`: thin slices for one scan."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    AnatomyMask,
    AnatomyVersion,
    Anyway,
    OwnConfig,
    OwnControl,
    OwnModel,
    ScanFile,
    Seed,
    Threads,
    check_region,
    check_result_out,
    mask_file,
    naming,
    own_config,
    own_model,
)
from meddiff.config import Region
from meddiff.errors import UserError
from meddiff.weights import default_bundle


def superres(
    scan: ScanFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="CT to write, or a folder for a DICOM folder.")],
    region: Annotated[Region, typer.Option(help="The part of the scan to work on; the result holds it alone.")],
    anatomy: AnatomyMask = None,
    anatomy_version: AnatomyVersion = 2,
    anyway: Anyway = False,
    model: OwnModel = None,
    control: OwnControl = None,
    config: OwnConfig = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Write a region of a scan with thick slices at the model's spacing, in the region's HU window.

    Its axes run as those of the scan do, nearest to which the patient's are.
    """
    check_result_out(out, scan, anatomy)
    check_region(region)
    from meddiff.derived.out import write_result
    from meddiff.derived.series import Content
    from meddiff.machine.device import set_up_cpu
    from meddiff.model.control_bundle import slice_factor
    from meddiff.tasks import super_resolution
    from meddiff.tasks.fit import anatomy_misfits, check_fit, thinning_misfits
    from meddiff.tasks.sampler import Sampler
    from meddiff.volumes import volumes

    set_up_cpu(threads)
    model, control = own_model(model), control or default_bundle("super-resolution")
    settings = own_config(config, model)
    if (factor := slice_factor(control)) is None:
        raise UserError(f"{control}: a ControlNet for lesions; give one for super-resolution with --control")
    thinning = settings.super_resolution.model_copy(update={"factor": factor})
    settings = settings.model_copy(update={"super_resolution": thinning})
    sampler = Sampler(model, settings.sampling, settings.machine, control)
    with naming(scan):
        own_grid = volumes.read_grid(scan)
        check_fit(thinning_misfits(own_grid.spacing_mm.tolist(), sampler.model.spacing_mm), anyway)
        thick, grid = super_resolution.read_thick(
            scan, region, mask_file(anatomy, anatomy_version), sampler.model, settings
        )
        check_fit(anatomy_misfits(thick.anatomy_zyx, region, sampler.model.scans), anyway)
    result = super_resolution.super_resolve(sampler, thick, settings.super_resolution, seed)
    thin = volumes.in_order_of(volumes.like(result, grid), own_grid)
    write_result(thin, Content(f"thin slices by {sampler.model.name}"), scan, out)
