"""Pretraining the foundation model (section 3.2, Eq. 1) on the stored regions of the training split."""

from pathlib import Path

import torch

from meddiff.config import Config
from meddiff.data.augmentation import augmented
from meddiff.data.shards import done_rows
from meddiff.device import choose_device
from meddiff.diffusion.schedule import Schedule
from meddiff.files import digest
from meddiff.model.foundation import MedDiffFM
from meddiff.model.unet import UNet
from meddiff.stages import params_of
from meddiff.training import distributed
from meddiff.training.loop import train
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Objective
from meddiff.training.regions import TrainingRegions
from meddiff.training.run import Run


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
    """
    regions = TrainingRegions.of(done_rows(store))
    settings = params_of(config, "pretrain")
    training, diffusion = config.training, config.diffusion
    device = distributed.local_device(choose_device(config.machine.device))
    folder = runs / f"{name}-{digest([settings, regions.digest])}"
    steps = training.steps_for(len(regions.training))
    run = Run(f"pretrain {name}", folder, config.seed, device, steps, max_minutes, config.machine)
    regions.claim(folder, settings)
    levels, drawer = config.variant(name).levels, augmented(config.augmentation)
    samples = steps * training.samples_per_step
    data = regions.patches(samples, levels, config.model.patch_vox, config.seed, drawer)
    torch.manual_seed(config.seed)
    network = UNet(config.network(name)).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    network.activation_checkpointing = config.machine.activation_checkpointing
    objective = Objective(network, Schedule(diffusion.timesteps, device), diffusion.prediction)
    monitor = Monitor.of(regions.held_out(), config, device)
    with distributed.process_group(device):
        averaged = train(run, objective, data, training, monitor)
    if distributed.rank() == 0:
        model = MedDiffFM(averaged, diffusion, name, regions.spacing_mm, config.windows)  # type: ignore[arg-type]
        model.save(out, regions.facts(run, training.samples_per_step))
