"""`meddiff evaluate`: score synthetic scans."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, Out, StoreIndices, Threads, stage_config


def evaluate(
    config: ConfigFile,
    name: Annotated[str, typer.Option(help="Name of the model, or `real`.")],
    store: StoreIndices,
    judged: Annotated[Path, typer.Option(help="Folder of TotalSegmentator's labels of these scans.")],
    extractor: Annotated[Path, typer.Option(help="Weights of the feature network.")],
    extractor_source: Annotated[Path, typer.Option(help="What these weights are.")],
    out: Out,
    features: Annotated[Path, typer.Option(help="File for the feature vectors, .npz.")],
    synthetic: Annotated[Path | None, typer.Option(help="Folder of the synthetic scans; none: the scans.")] = None,
    threads: Threads = None,
) -> None:
    """Score the synthetic twins of the held-out scans, or the scans themselves, one row per scan."""
    import numpy as np

    from meddiff.data.shards import done_rows
    from meddiff.device import choose_device, set_up_cpu
    from meddiff.evaluation import extractor as networks
    from meddiff.evaluation.synthesis import score
    from meddiff.files import temporary_beside
    from meddiff.report.tables import write_metrics
    from meddiff.tasks.synthesis import held_out_rows

    set_up_cpu(threads)
    settings = stage_config(config, "evaluate")
    network = networks.load(extractor, extractor_source, choose_device(settings.machine.device))
    rows = [r for r in held_out_rows(done_rows(store)) if (judged / f"{r.id}.nii.gz").exists()]
    threshold = settings.anatomy.body_threshold_hu
    metrics, vectors = score(rows, synthetic, judged, network, settings.evaluation, threshold, name)
    with temporary_beside(features) as temporary, temporary.open("wb") as file:
        np.savez(file, features=vectors, region=np.array([m["region"] for m in metrics]))
    write_metrics(metrics, out, ("id", "dataset", "region"))
