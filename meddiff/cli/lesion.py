"""`meddiff lesion`: a synthetic CT with a lesion, or a lesion drawn into a scan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    check_labels_out,
    check_region,
    check_result_out,
    check_volume_out,
    mask_file,
    naming,
    own_config,
    own_model,
)
from meddiff.config import Config, Organ, Region
from meddiff.errors import UserError
from meddiff.weights import default_bundle

if TYPE_CHECKING:
    from meddiff.tasks.sampler import Sampler

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
    threads: Threads = None,
) -> None:
    """Write a synthetic CT with this anatomy and a lesion, and the lesion's mask, as nnU-Net takes them."""
    check_volume_out(out, anatomy, lesion)
    if mask_out:
        check_volume_out(mask_out, anatomy, lesion, out, option="--mask-out")
    check_region(region)
    from meddiff.anatomy.masks import read_mask, upright_labels
    from meddiff.anatomy.numbering import MaskFile
    from meddiff.machine.device import set_up_cpu
    from meddiff.tasks import lesion_files
    from meddiff.tasks.fit import anatomy_misfits, check_fit
    from meddiff.volumes import volumes

    set_up_cpu(threads)
    model, control = own_model(model), control or default_bundle("lesions")
    settings = own_config(config, model)
    sampler = _sampler(model, control, settings)
    wanted = lesion_files.Wanted(lesion, organ, diameter_mm, seed)
    with naming(anatomy):
        mask = read_mask(MaskFile(anatomy, anatomy_version), sampler.model.spacing_mm)
        check_fit(anatomy_misfits(upright_labels(mask), region, sampler.model.scans), anyway)
        made = lesion_files.generate_lesion(sampler, mask, region, wanted, settings, patch)
    volumes.write_image(made.ct, out)
    if mask_out:
        volumes.write_image(made.mask, mask_out)


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
    threads: Threads = None,
) -> None:
    """Write the scan with a lesion drawn into it; beyond the mask and its margin every voxel is as it was."""
    check_result_out(out, scan, anatomy, lesion)
    if mask_out:
        check_labels_out(mask_out, scan, anatomy, lesion, out, option="--mask-out")
    check_region(region)
    from meddiff.derived.out import write_labels, write_result
    from meddiff.derived.series import Content
    from meddiff.machine.device import set_up_cpu
    from meddiff.tasks import lesion_files
    from meddiff.tasks.fit import check_fit, scan_misfits
    from meddiff.tasks.scan import read_scan

    set_up_cpu(threads)
    model, control = own_model(model), control or default_bundle("lesions")
    settings = own_config(config, model)
    sampler = _sampler(model, control, settings)
    wanted = lesion_files.Wanted(lesion, organ, diameter_mm, seed)
    with naming(scan):
        prepared = read_scan(scan, region, mask_file(anatomy, anatomy_version), sampler.model, settings)
        check_fit(scan_misfits(prepared, sampler.model.scans), anyway)
        made = lesion_files.inpaint_scan(sampler, prepared, wanted, settings)
    write_result(made.ct, Content(f"synthetic lesion by {sampler.model.name}"), scan, out)
    if mask_out:
        write_labels(made.mask, {1: "lesion"}, scan, mask_out)


def _sampler(model: str, control: Path, config: Config) -> "Sampler":
    from meddiff.model.control_bundle import slice_factor
    from meddiff.tasks.sampler import Sampler

    if slice_factor(control) is not None:
        raise UserError(f"{control}: a ControlNet for super-resolution; give one for lesions with --control")
    return Sampler(model, config.sampling, config.machine, control)
