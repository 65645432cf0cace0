"""`meddiff denoise`: less noise in one scan."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.jobs import Job, jobs_of, run_jobs, to_do
from meddiff.cli.options import (
    AnatomyMask,
    AnatomyVersion,
    Anyway,
    AsJson,
    Device,
    OwnConfig,
    OwnModel,
    ScanFile,
    Seed,
    Threads,
    check_region,
    check_result_out,
    mask_file,
    open_model,
)
from meddiff.config import DenoisingConfig, Region, parse_section


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
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Write the scan with less noise, on its own grid.

    The method `guided` measures level and texture of the noise in the scan, and lets the model guide a filter in the
    region; the rest of the scan is filtered without it. With the paper's methods voxels outside of the region and of
    its HU window keep their value, and so does noise that is finer than the model's voxels. The voxels of a file are
    those of the scan, in its order. A DICOM folder gives a DICOM series, marked as derived, in the same study.
    """
    jobs = jobs_of(scan, out, anatomy)
    for job in to_do(jobs):
        check_result_out(job.out, job.scan, job.anatomy)
    check_region(region)
    opened = open_model(model, config, device, threads, anyway)
    if method:
        how = parse_section(DenoisingConfig, opened.config.denoising.model_dump() | {"method": method}, "denoising")
        opened.config = opened.config.model_copy(update={"denoising": how})
    from meddiff.derived.out import write_result
    from meddiff.derived.series import Content

    def work(job: Job) -> None:
        result = opened.denoise(job.scan, region, mask_file(job.anatomy, anatomy_version), noise_hu, seed)
        write_result(result, Content(f"denoised with {opened.name}"), job.scan, job.out)

    run_jobs(jobs, work, as_json)
