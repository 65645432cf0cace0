"""`meddiff lesion`: a synthetic CT with a lesion, or a lesion drawn into a scan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    check_labels_out,
    check_region,
    check_result_out,
    check_volume_out,
    mask_file,
    open_model,
)
from meddiff.config import Organ, Region
from meddiff.errors import UserError

if TYPE_CHECKING:
    from meddiff.api import DrawnLesion

app = typer.Typer(help="Lesions by a fine-tuned model, from a mask of yours or a drawn one.", no_args_is_help=True)

LesionMask = Annotated[Path | None, typer.Option("--lesion", help="Lesion mask, RTSTRUCT or SEG; none: a drawn one.")]
LesionOrgan = Annotated[Organ | None, typer.Option("--organ", help="Where to draw the mask.")]
Diameter = Annotated[float, typer.Option("--diameter-mm", min=1, help="Size of the drawn mask.")]
MaskOut = Annotated[Path | None, typer.Option(help="File for the lesion mask that was used.")]


@app.command("generate")
def generate(
    anatomy: Annotated[
        Path, typer.Option(help="Labels 0 to 118, 118 the rest of the body, a folder of structures, or SEG.")
    ],
    region: Annotated[Region, typer.Option(help="What the mask shows.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="CT to write, e.g. ct.nii.gz.")],
    lesion: LesionMask = None,
    organ: LesionOrgan = None,
    diameter_mm: Diameter = 20.0,
    mask_out: MaskOut = None,
    anatomy_version: AnatomyVersion = 2,
    patch: Annotated[bool, typer.Option(help="Draw the patch around the lesion alone.")] = False,
    anyway: Anyway = False,
    model: OwnModel = None,
    control: OwnControl = None,
    config: OwnConfig = None,
    seed: Seed = 0,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Write a synthetic CT with this anatomy and a lesion, and the lesion's mask, as nnU-Net takes them."""
    check_volume_out(out, anatomy, lesion)
    if mask_out:
        check_volume_out(mask_out, anatomy, lesion, out, option="--mask-out")
    check_region(region)
    wanted = _wanted(lesion, organ, diameter_mm)
    opened = open_model(model, config, device, threads, anyway, lesions=control)
    from meddiff.anatomy.numbering import MaskFile
    from meddiff.volumes.volumes import write_image

    mask = MaskFile(anatomy, anatomy_version)
    ct, drawn = opened.generate_lesion(mask, region, wanted, patch, seed)
    if mask_out:
        write_image(drawn, mask_out)
    write_image(ct, out)


@app.command("inpaint")
def inpaint(
    scan: ScanFile,
    region: Annotated[Region, typer.Option(help="The part of the scan to work on.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="CT to write, or a folder for a DICOM folder.")],
    lesion: LesionMask = None,
    organ: LesionOrgan = None,
    diameter_mm: Diameter = 20.0,
    mask_out: MaskOut = None,
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
    """Write the scan with a lesion drawn into it; beyond the mask and its margin every voxel is as it was."""
    jobs = jobs_of(scan, out, anatomy, mask_out)
    for job in to_do(jobs):
        check_result_out(job.out, job.scan, job.anatomy, lesion)
        if job.mask_out:
            check_labels_out(job.mask_out, job.scan, job.anatomy, lesion, job.out, option="--mask-out")
    check_region(region)
    wanted = _wanted(lesion, organ, diameter_mm)
    opened = open_model(model, config, device, threads, anyway, lesions=control)
    from meddiff.derived.out import write_labels, write_result
    from meddiff.derived.series import Content

    def work(job: Job) -> None:
        mask = mask_file(job.anatomy, anatomy_version)
        ct, drawn = opened.inpaint(job.scan, region, wanted, mask, seed)
        if job.mask_out:  # first, so that no CT is left alone with a lesion that nobody finds
            write_labels(drawn, {1: "lesion"}, job.scan, job.mask_out)
        write_result(ct, Content(f"synthetic lesion by {opened.name}"), job.scan, job.out)

    run_jobs(jobs, work, as_json)


def _wanted(lesion: Path | None, organ: Organ | None, diameter_mm: float) -> "Path | DrawnLesion":
    from meddiff.api import DrawnLesion

    if lesion is not None and organ is None:
        return lesion
    if organ is not None and lesion is None:
        return DrawnLesion(organ, diameter_mm)
    raise UserError("give either --lesion, a mask of yours, or --organ, where one is to be drawn")
