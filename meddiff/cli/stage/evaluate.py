"""`extractor`, `evaluate` and `gather_scores`: score synthetic scans, a shard at a time."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Out, StoreIndices, Threads, stage_config


def extractor(
    config: ConfigFile, out: Out, source: Annotated[Path, typer.Option(help="File that tells what the weights are.")]
) -> None:
    """Provide MedicalNet's weights, or seeded random ones, as the configuration says."""
    from meddiff.metrics.extractor import prepare

    settings = stage_config(config, "extractor")
    prepare(settings.evaluation, settings.seed, out, source)


def evaluate(
    config: ConfigFile,
    name: Annotated[str, typer.Option(help="Name of the model, or `real`.")],
    store: StoreIndices,
    shard: Annotated[int, typer.Option(min=0, help="Which share of the scans.")],
    judged: Annotated[Path, typer.Option(help="Folder of TotalSegmentator's labels of these scans.")],
    extractor: Annotated[Path, typer.Option(help="Weights of the feature network.")],
    extractor_source: Annotated[Path, typer.Option(help="What these weights are.")],
    index: IndexOut,
    synthetic: Annotated[Path | None, typer.Option(help="Folder of the synthetic scans; none: the scans.")] = None,
    threads: Threads = None,
) -> None:
    """Score the synthetic twins of a shard of the held-out scans, or the scans themselves; a stopped one goes on."""
    from meddiff.machine.device import choose_device, set_up_cpu
    from meddiff.metrics import extractor as networks
    from meddiff.stages.evaluate import Scorer, score_records
    from meddiff.store.query import held_out, open_store

    set_up_cpu(threads)
    settings = stage_config(config, "evaluate")
    network = networks.load(extractor, extractor_source, choose_device(settings.machine.device))
    records = held_out(open_store(store))[shard :: settings.machine.sampling_shards]
    score_records(name, records, Scorer(synthetic, judged, network, settings), extractor, index)


def gather_scores(
    index: Annotated[list[Path], typer.Option(help="Indices of the shards.")],
    out: Out,
    features: Annotated[Path, typer.Option(help="File for the feature vectors, .npz.")],
) -> None:
    """Write the metrics of all shards as one table, a row per scan, and their feature vectors beside."""
    import numpy as np

    from meddiff.machine.files import temporary_beside
    from meddiff.metrics.files import write_metrics
    from meddiff.stages.gather_scores import gather

    metrics, vectors = gather(index)
    with temporary_beside(features) as temporary, temporary.open("wb") as file:
        np.savez(file, features=vectors, region=np.array([m["region"] for m in metrics]))
    write_metrics(metrics, out, ("id", "dataset", "region"))
