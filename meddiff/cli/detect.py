"""`meddiff detect`: where an organ does not look as the model expects."""

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
    check_labels_out,
    check_result_out,
    mask_file,
    naming,
    own_config,
    own_model,
)
from meddiff.config import REGION_OF, Organ
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
    threads: Threads = None,
) -> None:
    """Write the scan minus the model's estimate of it within the organ, in HU: positive is brighter than expected.

    Map and mask are by default what Table 5 scores under the paper's name. A threshold is best chosen on scans with
    known lesions, as the pipeline does (`metrics/score_anomaly.csv`, in half HU windows).
    """
    check_result_out(out, scan, anatomy)
    if mask_out:
        check_labels_out(mask_out, scan, anatomy, out, option="--mask-out")
    if (threshold_hu is None) != (mask_out is None):
        raise UserError("a mask needs both, --mask-out and --threshold-hu")
    import numpy as np

    from meddiff.derived.out import write_labels, write_result
    from meddiff.derived.series import MODIFIED_HU, Content
    from meddiff.machine.device import set_up_cpu
    from meddiff.tasks import anomaly
    from meddiff.tasks.fit import check_fit, scan_misfits
    from meddiff.tasks.sampler import Sampler
    from meddiff.tasks.scan import read_scan
    from meddiff.volumes import volumes

    model = own_model(model)
    settings, region = own_config(config, model), REGION_OF[organ]
    set_up_cpu(threads)
    sampler = Sampler(model, settings.sampling, settings.machine)
    with naming(scan):
        prepared = read_scan(scan, region, mask_file(anatomy, anatomy_version), sampler.model, settings)
        check_fit(scan_misfits(prepared, sampler.model.scans), anyway)
        mask = anomaly.organ_mask(prepared.anatomy_zyx, organ, prepared.spacing_mm, settings.anomaly.closing_mm)
    t = anomaly.timesteps(settings.anomaly, organ)[-1] if timestep is None else timestep
    found = anomaly.anomaly_map(sampler, prepared, mask, anomaly.Probe(t, settings.anomaly.draws, masked), seed)
    map_hu = prepared.as_map(found * prepared.window.width_hu / 2)
    shown = Content(f"anomaly map, {organ}: scan minus expected, in HU", MODIFIED_HU, MAP_STEP_HU, MAP_WINDOW_HU)
    write_result(map_hu, shown, scan, out)
    if mask_out:
        map_zyx = volumes.to_zyx(map_hu)
        size_zyx = map_zyx if brighter_only else np.abs(map_zyx)
        reached = volumes.like((size_zyx >= threshold_hu).astype(np.uint8), map_hu)
        write_labels(reached, {1: "anomaly"}, scan, mask_out)
