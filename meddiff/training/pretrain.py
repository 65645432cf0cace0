"""Pretraining the foundation model (section 3.2, Eq. 1) on the stored regions of the training split."""

from collections import Counter
from pathlib import Path

import torch

from meddiff.config import Config
from meddiff.data.patches import PatchDataset
from meddiff.data.shards import done_rows
from meddiff.data.store import Record
from meddiff.device import choose_device
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import UserError
from meddiff.files import digest, write_json
from meddiff.model.foundation import MedDiffFM
from meddiff.model.unet import UNet
from meddiff.stages import params_of
from meddiff.training.loop import Run, train


def pretrain(config: Config, name: str, store: list[Path], runs: Path, out: Path, max_minutes: float) -> None:
    """Train the named model and write its bundle.

    Args:
        config: the sections of the stage `pretrain`.
        name: an entry of `config.models`.
        store: the store's shard indices.
        runs: folder of the run folders; a run's folder is named by its configuration and data, so a stopped run goes
            on and a changed one starts anew.
        out: folder of the bundle.
        max_minutes: end with a checkpoint after this time.

    Raises:
        TimeSliceEnded: the time is up; the same call goes on.
    """
    rows = done_rows(store)
    folders = training_folders(rows)
    settings = params_of(config, "pretrain")
    identity = digest([settings, [(row.id, row.sha256) for row in rows]])
    device, training = choose_device(config.device), config.training
    run = Run(f"pretrain {name}", runs / f"{name}-{identity}", config.seed, device, max_minutes)
    samples = training.steps * training.accumulation * training.batch_size
    data = PatchDataset(folders, config.variant(name).levels, config.model.patch_vox, config.seed, samples)
    torch.manual_seed(config.seed)
    network = UNet(config.network(name)).to(device)
    write_json({"settings": settings, "records": [folder.name for folder in folders]}, run.folder / "run.json")
    schedule = Schedule(config.diffusion.timesteps, device)
    averaged = train(run, network, data, schedule, config.diffusion.prediction, training)
    model = MedDiffFM(averaged, config.diffusion, name)  # type: ignore[arg-type]
    metas = [record.meta for record in data.records]
    model.save(
        out,
        {
            "steps": training.steps,
            "seed": config.seed,
            "spacing_mm": metas[0].spacing_mm,
            "regions_per_dataset": dict(Counter(meta.dataset for meta in metas)),
            "run": run.folder.name,
            "anatomy_weights": metas[0].anatomy_weights,
        },
    )


def training_folders(rows: list) -> list[Path]:
    """Return the record folders of the pretraining datasets' training split.

    Raises:
        UserError: there are none.
    """
    folders = [row.path.parent for row in rows]
    metas = {folder: Record(folder).meta for folder in folders}
    chosen = [f for f, meta in metas.items() if meta.role == "pretraining" and meta.split == "train"]
    if not chosen:
        raise UserError(
            f"no region of {len(folders)} is in the training split; add datasets or see the quarantine list"
        )
    return chosen
