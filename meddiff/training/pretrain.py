"""Pretraining the foundation model (section 3.2, Eq. 1) on the stored regions of the training split."""

from pathlib import Path

import torch

from meddiff.config import Config
from meddiff.config.stages import params_of
from meddiff.diffusion.schedule import Schedule
from meddiff.machine.device import choose_device
from meddiff.machine.files import digest, sha256
from meddiff.model.foundation import WEIGHTS, FoundationModel
from meddiff.model.unet import UNet
from meddiff.store.augmentation import augmented
from meddiff.store.known import known_regions
from meddiff.store.query import open_store
from meddiff.training import distributed
from meddiff.training.loop import train
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Objective
from meddiff.training.records import TrainingRecords
from meddiff.training.run import Run
from meddiff.training.start import begin_with_model, starting_bundle


def pretrain(config: Config, name: str, store: list[Path], runs: Path, out: Path, max_minutes: float) -> None:
    """Train the named model and write its bundle.

    Args:
        config: what the stage reads, `pretrain`.
        name: an entry of `config.models`.
        store: the store's shard indices.
        runs: folder of the run folders; a run's folder is named by its configuration and data, so a stopped run goes
            on and a changed one starts anew.
        out: folder of the bundle.
        max_minutes: end with a checkpoint after this time.

    Raises:
        TimeSliceEnded: the time is up; the same call goes on.
        UserError: the model that training shall start from is not there, or of another kind.
    """
    records = TrainingRecords.from_store(open_store(store))
    settings = params_of(config.with_model(name), "pretrain")
    training, diffusion = config.training, config.diffusion
    device = distributed.local_device(choose_device(config.machine.device))
    start = starting_bundle(training.start_from, name)
    begun_with = [sha256(start / WEIGHTS)] if start else []
    folder = runs / f"{name}-{digest([settings, records.digest, *begun_with])}"
    steps = training.steps_for(len(records.training))
    run = Run(f"pretrain {name}", folder, config.seed, device, steps, max_minutes, config.machine)
    records.claim(folder, settings)
    levels, drawer = config.variant(name).levels, augmented(config.augmentation)
    samples = steps * training.samples_per_step
    data = records.patches(samples, levels, config.model.patch_vox, config.seed, drawer)
    torch.manual_seed(config.seed)
    network = UNet(config.network(name))
    if start:
        begin_with_model(network, start, diffusion)
    network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    network.activation_checkpointing = config.machine.activation_checkpointing
    objective = Objective(network, Schedule(diffusion.timesteps, device), diffusion.prediction)
    monitor = Monitor.from_config(records.validation, config, device)
    with distributed.process_group(device):
        averaged = train(run, objective, data, training, monitor)
    if distributed.rank() == 0:
        known = {"windows": config.windows, "scans": known_regions(records.training)}
        model = FoundationModel(averaged, diffusion, name, records.spacing_mm, **known)  # type: ignore[arg-type]
        model.save(out, records.facts(run, training.samples_per_step) | {"started_from": "".join(begun_with) or None})
