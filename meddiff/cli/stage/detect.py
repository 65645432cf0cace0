"""Table 5 from the stored scans with lesions: `anomaly_maps`, `supervised` (nnU-Net) and `score_anomaly`."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, ModelBundle, Out, StoreIndices, Threads, stage_config

Maps = Annotated[Path, typer.Option(help="Folder of the anomaly maps.")]


def anomaly_maps(
    config: ConfigFile, model: ModelBundle, store: StoreIndices, index: IndexOut, threads: Threads = None
) -> None:
    """Write the anomaly maps of all scans with lesions of an organ of Table 5."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.stages.detect import organ_records, write_maps
    from meddiff.store.query import open_store
    from meddiff.tasks.sampler import Sampler

    set_up_cpu(threads)
    settings = stage_config(config, "anomaly_maps")
    sampler = Sampler(model, settings.sampling, settings.machine)
    write_maps(organ_records(open_store(store)), sampler, settings, index)


def supervised(
    config: ConfigFile,
    store: StoreIndices,
    work: Annotated[Path, typer.Option(help="Folder for nnU-Net's files; a stopped training goes on from them.")],
    out: Out,
    done: Annotated[Path, typer.Option(help="File to write when all is done.")],
) -> None:
    """Train nnU-Net on all but the test scans with lesions of each dataset, and predict these."""
    from meddiff.machine.files import write_json
    from meddiff.stages.detect import predict_supervised
    from meddiff.store.query import open_store

    predict_supervised(open_store(store), stage_config(config, "supervised"), work, out)
    write_json(sorted(path.name for path in out.glob("*_probability.nii.gz")), done)


def score_anomaly(
    config: ConfigFile,
    store: StoreIndices,
    maps: Maps,
    probabilities: Annotated[Path, typer.Option(help="Folder of nnU-Net's probability maps.")],
    out: Out,
    metrics: Annotated[Path, typer.Option(help="Table of metrics to write, CSV.")],
    threads: Threads = None,
) -> None:
    """Score maps, intensity and nnU-Net on the test scans, a row per dataset and method; a stopped one goes on."""
    from meddiff.metrics.files import write_metrics
    from meddiff.stages.score_anomaly import score_all
    from meddiff.store.query import open_store

    settings = stage_config(config, "score_anomaly")
    rows = score_all(open_store(store), settings, maps, probabilities, out, threads or 1)
    write_metrics(rows, metrics, ("dataset", "method", "n"))
