"""`meddiff label`: the anatomy of one scan, as a model is shown it."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import (
    AnatomyMask,
    AnatomyVersion,
    OwnModel,
    ScanFile,
    Threads,
    check_labels_out,
    mask_file,
    naming,
    own_config,
)


def label(
    scan: ScanFile,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Volume to write, or for a DICOM folder a .seg.dcm or .rtstruct.dcm."),
    ],
    anatomy: AnatomyMask = None,
    anatomy_version: AnatomyVersion = 2,
    model: OwnModel = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration, whose anatomy weights count; none: the model's anatomy.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Write the labels of a scan, TotalSegmentator's 1 to 117 and the rest of the body 118, on the scan's voxels.

    They are what the other verbs show a model: TotalSegmentator's, by the weights that the model was trained with, or
    with `--anatomy` what they make of your mask.
    """
    check_labels_out(out, scan, anatomy, option="--out")
    from meddiff.anatomy.labels import BODY, CLASS_NAMES
    from meddiff.derived.out import write_labels
    from meddiff.machine.device import set_up_cpu
    from meddiff.tasks.scan import label_scan
    from meddiff.weights import FOUNDATION, shipped_bundle

    settings = own_config(config, model or str(shipped_bundle(FOUNDATION)))
    set_up_cpu(threads)
    with naming(scan):
        labels = label_scan(scan, mask_file(anatomy, anatomy_version), settings)
    write_labels(labels, {**dict(enumerate(CLASS_NAMES, start=1)), BODY: "body"}, scan, out)
