"""`meddiff superres`: thin slices for one scan; `thick-slices`, `measured-slices` and `super-resolve`: its table."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    AnatomyMask,
    AnatomyVersion,
    Anyway,
    ConfigFile,
    IndexOut,
    Manifest,
    ModelBundle,
    Out,
    OwnConfig,
    OwnControl,
    OwnModel,
    ScanFile,
    Seed,
    StoreIndices,
    Threads,
    check_region,
    check_volume_out,
    mask_file,
    naming,
    own_config,
    own_model,
    stage_config,
)
from meddiff.config import SUPER_RESOLVERS, Region
from meddiff.errors import UserError
from meddiff.weights import default_bundle

Control = Annotated[Path, typer.Option(help="Folder of the ControlNet's bundle.")]


def superres(
    scan: ScanFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="CT to write, e.g. ct.nii.gz.")],
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
    check_volume_out(out, scan, anatomy)
    check_region(region)
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
    volumes.write_image(volumes.in_order_of(volumes.like(result, grid), own_grid), out)


def thick_slices(
    config: ConfigFile,
    manifest: Manifest,
    resampled: Annotated[list[Path], typer.Option(help="Indices of the resampled scans.")],
    store: StoreIndices,
    out: Out,
    index: IndexOut,
) -> None:
    """Pair test scans with their thick slices, or simulate them where no dataset has any."""
    from meddiff.datasets.index import read_manifest
    from meddiff.machine.shards import done_rows
    from meddiff.stages.superres import choose_thick, write_thick
    from meddiff.store.query import open_store

    settings = stage_config(config, "thick-slices")
    chosen = choose_thick(open_store(store), read_manifest(manifest), settings.super_resolution.scans)
    write_thick(chosen, done_rows(resampled), settings, out, index)


def measured_slices(config: ConfigFile, manifest: Manifest, store: StoreIndices, out: Out, index: IndexOut) -> None:
    """Bring the thick slices of training scans, where a dataset has them, onto the voxels of their regions."""
    from meddiff.datasets.index import read_manifest
    from meddiff.stages.superres import choose_learned, write_learned
    from meddiff.store.query import open_store

    chosen = choose_learned(open_store(store), read_manifest(manifest))
    write_learned(chosen, stage_config(config, "measured-slices"), out, index)


def super_resolve(
    config: ConfigFile,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(SUPER_RESOLVERS)}.")],
    thick: Annotated[Path, typer.Option(help="Index that `thick-slices` wrote.")],
    store: StoreIndices,
    model: ModelBundle,
    control: Control,
    out: Out,
    index: IndexOut,
    metrics: Annotated[Path, typer.Option(help="Table of metrics to write, CSV.")],
    threads: Threads = None,
) -> None:
    """Make thin slices with one method and score them."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.machine.files import read_json
    from meddiff.machine.shards import done_rows, sidecar
    from meddiff.report.tables import write_metrics
    from meddiff.stages.superres import super_resolve_all
    from meddiff.store.query import open_store

    set_up_cpu(threads)
    settings = stage_config(config, "super-resolve")
    super_resolve_all(method, done_rows([thick]), open_store(store), settings, Path(model), control, out, index)
    table = [{"id": row.id, **read_json(sidecar(row.path))["details"]} for row in done_rows([index])]
    write_metrics(table, metrics, ("id", "region"))
