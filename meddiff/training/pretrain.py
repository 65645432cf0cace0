"""Pretraining the foundation model (section 3.2, Eq. 1) on the stored regions of the training split."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from meddiff.config import Config
from meddiff.data.patches import PatchDataset
from meddiff.data.shards import Row, done_rows
from meddiff.data.store import Record
from meddiff.device import choose_device
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import UserError
from meddiff.files import digest, read_json, write_json
from meddiff.model.foundation import MedDiffFM
from meddiff.model.unet import UNet
from meddiff.stages import params_of
from meddiff.training import distributed
from meddiff.training.loop import Run, train
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Objective
from meddiff.training.status import STATISTICS


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
    training_set, validation_set = split_folders(rows)
    settings = params_of(config, "pretrain")
    identity = digest([settings, [(row.id, row.sha256) for row in rows]])
    training = config.training
    device = distributed.local_device(choose_device(config.device))
    run = Run(f"pretrain {name}", runs / f"{name}-{identity}", config.seed, device, max_minutes)
    check_same_run(run.folder, {"settings": settings, "records": [folder.name for folder in training_set]})
    samples = training.steps * training.accumulation * training.batch_size
    patch_vox = config.model.patch_vox
    data = PatchDataset(training_set, config.variant(name).levels, patch_vox, config.seed, samples)
    held_out = [Record(folder) for folder in validation_set]
    monitor = Monitor(held_out, patch_vox, training.validation_patches, config.seed, device)
    torch.manual_seed(config.seed)
    network = UNet(config.network(name)).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    network.activation_checkpointing = training.activation_checkpointing
    objective = Objective(network, Schedule(config.diffusion.timesteps, device), config.diffusion.prediction)
    with distributed.process_group(device):
        averaged = train(run, objective, data, training, monitor if held_out else None)
    if distributed.rank() != 0:
        return
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
            "validation": last_validation(run.folder),
            "anatomy_weights": metas[0].anatomy_weights,
        },
    )


def split_folders(rows: list[Row]) -> tuple[list[Path], list[Path]]:
    """Return the record folders of the pretraining datasets' training and validation splits.

    Raises:
        UserError: there are none for training.
    """
    metas = {row.path.parent: Record(row.path.parent).meta for row in rows}
    training, validation = (
        [folder for folder, meta in metas.items() if meta.role == "pretraining" and meta.split == split]
        for split in ("train", "val")
    )
    if not training:
        raise UserError(f"no region of {len(rows)} is in the training split; add datasets or see the quarantine list")
    return training, validation


def check_same_run(folder: Path, identity: dict[str, Any]) -> None:
    """Write what a run is into its folder, or make sure that it is still the same.

    Raises:
        UserError: the folder holds a run with another configuration or other data.
    """
    path = folder / "run.json"
    if not path.exists():
        if distributed.rank() == 0:
            write_json(identity, path)
    elif read_json(path) != identity:
        raise UserError(f"{folder}: holds a run with another configuration or other data; give this run another folder")


def last_validation(folder: Path) -> dict[str, float]:
    """Return the run's last validation losses by `region/level`; empty when it had no validation split."""
    rows = [json.loads(line) for line in (folder / STATISTICS).read_text().splitlines()]
    prefix = "validation/"
    found = [{k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)} for row in rows]
    return next((losses for losses in reversed(found) if losses), {})
