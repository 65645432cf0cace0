"""`meddiff superres`: thin slices for one scan."""

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
    OwnControl,
    OwnModel,
    ScanFile,
    Seed,
    Threads,
    check_region,
    check_result_out,
    mask_file,
    open_model,
)
from meddiff.config import Region


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
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Write a region of a scan with thick slices at the model's spacing, in the region's HU window.

    Its axes run as those of the scan do, nearest to which the patient's are.
    """
    jobs = jobs_of(scan, out, anatomy)
    for job in to_do(jobs):
        check_result_out(job.out, job.scan, job.anatomy)
    check_region(region)
    opened = open_model(model, config, device, threads, anyway, super_resolution=control)
    from meddiff.derived.out import write_result
    from meddiff.derived.series import Content

    def work(job: Job) -> None:
        mask = mask_file(job.anatomy, anatomy_version)
        thin = opened.super_resolve(job.scan, region, mask, seed)
        write_result(thin, Content(f"thin slices by {opened.name}"), job.scan, job.out)

    run_jobs(jobs, work, as_json)
