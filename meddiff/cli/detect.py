"""`meddiff detect`: where an organ does not look as the model expects."""

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
    check_labels_out,
    check_result_out,
    mask_file,
    open_model,
)
from meddiff.config import Organ
from meddiff.errors import UserError

MAP_STEP_HU, MAP_WINDOW_HU = 0.1, (0.0, 400.0)  # of a map in DICOM


def detect(
    scan: ScanFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Map in HU, or a folder for a DICOM folder.")],
    organ: Annotated[Organ, typer.Option(help="Where to look.")],
    anatomy: AnatomyMask = None,
    anatomy_version: AnatomyVersion = 2,
    timestep: Annotated[int | None, typer.Option("--t", help="Noise that hides a lesion; none: the paper's.")] = None,
    masked: Annotated[
        bool, typer.Option("--masked/--whole-scan", help="Show the model the organ alone, as the paper does, or all.")
    ] = True,
    brighter_only: Annotated[bool, typer.Option(help="For --mask-out: what is brighter, not what differs.")] = False,
    threshold_hu: Annotated[float | None, typer.Option(min=1, help="Of the map's size, for --mask-out.")] = None,
    mask_out: Annotated[Path | None, typer.Option(help="Mask to write: where the map reaches the threshold.")] = None,
    anyway: Anyway = False,
    model: OwnModel = None,
    config: OwnConfig = None,
    seed: Seed = 0,
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Write the scan minus the model's estimate of it within the organ, in HU: positive is brighter than expected.

    Map and mask are by default what Table 5 scores under the paper's name. A threshold is best chosen on scans with
    known lesions, as the pipeline does (`metrics/score_anomaly.csv`, in half HU windows).
    """
    jobs = jobs_of(scan, out, anatomy, mask_out)
    for job in to_do(jobs):
        check_result_out(job.out, job.scan, job.anatomy)
        if job.mask_out:
            check_labels_out(job.mask_out, job.scan, job.anatomy, job.out, option="--mask-out")
    if (threshold_hu is None) != (mask_out is None):
        raise UserError("a mask needs both, --mask-out and --threshold-hu")
    opened = open_model(model, config, device, threads, anyway)
    import numpy as np

    from meddiff.derived.out import write_labels, write_result
    from meddiff.derived.series import MODIFIED_HU, Content
    from meddiff.volumes import volumes

    shown = Content(f"anomaly map, {organ}: scan minus expected, in HU", MODIFIED_HU, MAP_STEP_HU, MAP_WINDOW_HU)

    def work(job: Job) -> None:
        map_hu = opened.detect(job.scan, organ, mask_file(job.anatomy, anatomy_version), timestep, masked, seed)
        if job.mask_out:
            map_zyx = volumes.to_zyx(map_hu)
            size_zyx = map_zyx if brighter_only else np.abs(map_zyx)
            reached = volumes.like((size_zyx >= threshold_hu).astype(np.uint8), map_hu)
            try:
                write_labels(reached, {1: "anomaly"}, job.scan, job.mask_out)
            except UserError:  # nothing reaches the threshold, and of that there is no SEG, but a map
                write_result(map_hu, shown, job.scan, job.out)
                raise
        write_result(map_hu, shown, job.scan, job.out)

    run_jobs(jobs, work, as_json)
