"""`meddiff denoise`: less noise in one scan."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    AnatomyMask,
    AnatomyVersion,
    Anyway,
    OwnConfig,
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
from meddiff.config import DenoisingConfig, Region, parse_section

log = logging.getLogger(__name__)


def denoise(
    scan: ScanFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, or a folder for a DICOM folder.")],
    region: Annotated[Region, typer.Option(help="The part of the scan to work on.")],
    anatomy: AnatomyMask = None,
    anatomy_version: AnatomyVersion = 2,
    method: Annotated[
        str | None, typer.Option(help="guided, reverse, diffpir or one-step; none: the configured.")
    ] = None,
    noise_hu: Annotated[
        float | None,
        typer.Option(min=0, help="Standard deviation of the scan's noise, HU; none: measured in its soft tissue."),
    ] = None,
    anyway: Anyway = False,
    model: OwnModel = None,
    config: OwnConfig = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Write the scan with less noise, on its own grid.

    The method `guided` measures level and texture of the noise in the scan, and lets the model guide a filter in the
    region; the rest of the scan is filtered without it. With the paper's methods voxels outside of the region and of
    its HU window keep their value, and so does noise that is finer than the model's voxels. The voxels of a file are
    those of the scan, in its order. A DICOM folder gives a DICOM series, marked as derived, in the same study.
    """
    check_result_out(out, scan, anatomy)
    check_region(region)
    model = own_model(model)
    settings = own_config(config, model)
    changes = {"method": method} if method else {}
    how = parse_section(DenoisingConfig, settings.denoising.model_dump() | changes, "denoising")
    from meddiff.anatomy.noise import measure_noise_hu
    from meddiff.derived.out import write_result
    from meddiff.derived.series import Content
    from meddiff.machine.device import set_up_cpu
    from meddiff.tasks import denoising
    from meddiff.tasks.fit import check_fit, scan_misfits
    from meddiff.tasks.guided import Shown, guided
    from meddiff.tasks.sampler import Sampler
    from meddiff.tasks.scan import read_scan

    set_up_cpu(threads)
    sampler = Sampler(model, settings.sampling, settings.machine)
    with naming(scan):
        prepared = read_scan(scan, region, mask_file(anatomy, anatomy_version), sampler.model, settings)
        # Of a guided filter nothing comes out that the scan does not hold.
        check_fit(scan_misfits(prepared, sampler.model.scans), anyway or how.method == "guided")
        if how.method == "guided":
            result = prepared.own(guided(sampler, prepared.source, [Shown(prepared)], noise_hu, seed))
        else:
            if noise_hu is None:
                noise_hu = measure_noise_hu(prepared.hu_zyx, prepared.anatomy_zyx, prepared.spacing_mm)
                log.info("noise of %.1f HU, measured in soft tissue; give another with --noise-hu", noise_hu)
            clean_zyx = denoising.denoise(sampler, prepared, how, noise_hu, seed)
            if not anyway:
                denoising.check_gain(prepared, clean_zyx, noise_hu)
            result = prepared.with_changes(clean_zyx)
    write_result(result, Content(f"denoised with {sampler.model.name}"), scan, out)
