"""Table 6 from the stored lesions: `draw_lesions`, `judge_lesions` and `augment_lesions`."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, ModelBundle, Out, StoreIndices, Threads, stage_config

DatasetName = Annotated[str, typer.Option("--dataset", help="Lesion dataset.")]
Control = Annotated[Path, typer.Option(help="Folder of the ControlNet's bundle.")]
Work = Annotated[Path, typer.Option(help="Folder for nnU-Net's files; a stopped training goes on from them.")]
Metrics = Annotated[Path, typer.Option(help="Table of metrics to write, CSV.")]


def draw_lesions(
    config: ConfigFile,
    dataset: DatasetName,
    model: ModelBundle,
    control: Control,
    store: StoreIndices,
    index: IndexOut,
    threads: Threads = None,
) -> None:
    """Generate and inpaint the lesions of the test patients with one model."""
    from meddiff.machine.device import set_up_cpu
    from meddiff.stages import lesion
    from meddiff.store.query import open_store, where, with_lesions
    from meddiff.tasks.sampler import Sampler

    set_up_cpu(threads)
    settings = stage_config(config, "draw_lesions")
    sampler = Sampler(model, settings.sampling, settings.machine, control)
    lesion.draw_lesions(with_lesions(where(open_store(store), dataset=dataset)), sampler, settings, index)


def judge_lesions(
    config: ConfigFile,
    dataset: DatasetName,
    store: StoreIndices,
    drawn: Annotated[list[Path], typer.Option(help="Folders that `draw_lesions` filled, named by the model's origin.")],
    work: Work,
    extractor: Annotated[Path, typer.Option(help="Weights of the feature network.")],
    extractor_source: Annotated[Path, typer.Option(help="What these weights are.")],
    out: Out,
    metrics: Metrics,
    features: Annotated[Path, typer.Option(help="File for the feature vectors, .npz.")],
    threads: Threads = None,
) -> None:
    """Score the real, generated and inpainted lesions with the nnU-Net that `supervised` trained."""
    import numpy as np

    from meddiff.machine.device import choose_device, set_up_cpu
    from meddiff.machine.files import temporary_beside
    from meddiff.metrics import extractor as networks
    from meddiff.metrics.files import write_metrics
    from meddiff.nnunet.model import NnUNet
    from meddiff.stages import lesion
    from meddiff.store.query import open_store, where, with_lesions

    set_up_cpu(threads)
    settings = stage_config(config, "judge_lesions")
    device = choose_device(settings.machine.device)
    judge = NnUNet(work / dataset, settings.nnunet, device.type)
    network = networks.load(extractor, extractor_source, device)
    folders = {folder.name: folder for folder in drawn}
    records = with_lesions(where(open_store(store), dataset=dataset))
    table, vectors = lesion.judge_lesions(records, folders, judge, network, settings, out)
    with temporary_beside(features) as temporary, temporary.open("wb") as file:
        np.savez(file, features=vectors)
    write_metrics(table, metrics, ("id", "origin", "kind"))


def augment_lesions(
    config: ConfigFile,
    dataset: DatasetName,
    model: ModelBundle,
    control: Control,
    store: StoreIndices,
    work: Work,
    out: Out,
    metrics: Metrics,
    threads: Threads = None,
) -> None:
    """Generate lesions for all but the test patients, train nnU-Net with them too, and compare on these."""
    from meddiff.machine.device import choose_device, set_up_cpu
    from meddiff.machine.shards import DONE
    from meddiff.metrics.files import write_metrics
    from meddiff.nnunet.model import NnUNet
    from meddiff.stages.augment_lesions import compare, generate_training
    from meddiff.store.query import open_store, where, with_lesions
    from meddiff.tasks.sampler import Sampler

    set_up_cpu(threads)
    settings = stage_config(config, "augment_lesions")
    records = with_lesions(where(open_store(store), dataset=dataset))
    sampler = Sampler(model, settings.sampling, settings.machine, control)
    made = generate_training(records, sampler, settings, out / "generated" / "index.tsv")
    device = choose_device(settings.machine.device).type
    real, augmented = (NnUNet(work / name, settings.nnunet, device) for name in (dataset, f"{dataset}-augmented"))
    table = compare(records, [row for row in made if row.status == DONE], real, augmented, out)
    write_metrics(table, metrics, ("id", "training"))
