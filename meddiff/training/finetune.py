"""Fine-tuning with ControlNet (section 3.2, Eq. 2): for lesions, and for super-resolution."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from meddiff.config import PATCH_ALONE, Config, LevelWeights, TrainingConfig
from meddiff.config.stages import params_of
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import UserError
from meddiff.machine.device import choose_device
from meddiff.machine.files import digest, sha256
from meddiff.machine.shards import done_rows
from meddiff.model.control_bundle import CONTROL_WEIGHTS, save_control
from meddiff.model.controlnet import ControlledUNet, ControlNet
from meddiff.model.foundation import WEIGHTS, FoundationModel, find_bundle
from meddiff.model.unet import Encoder, UNet
from meddiff.store.lesion_patches import AroundLesions
from meddiff.store.patches import LEVELS, Draw
from meddiff.store.query import open_store, where, with_lesions
from meddiff.store.thick_slices import MeasuredSlices, thick_drawer
from meddiff.training import distributed
from meddiff.training.loop import train
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Finetuning, Objective
from meddiff.training.records import TrainingRecords
from meddiff.training.run import Run
from meddiff.training.start import begin_with_control, starting_control

SCRATCH_FOUNDATION = "foundation"  # folder of the U-Net that was trained together with its ControlNet


@dataclass(frozen=True)
class Task:
    """What a ControlNet learns: on which regions, from which patches.

    `control` is what such a ControlNet is called among those of the package, one of `CONTROLS`.
    """

    name: str
    control: str
    records: TrainingRecords
    draw: Draw
    levels: LevelWeights
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The stage of the pipeline whose configuration decides the run."""
        return f"finetune_{self.control.replace('-', '_')}"


@dataclass(frozen=True)
class Place:
    """Where a fine-tuning begins, where its runs lie and where its bundle goes; after `max_minutes` it stops."""

    foundation: Path
    runs: Path
    out: Path
    max_minutes: float


@dataclass(frozen=True)
class Origin:
    """What the networks are before the first step.

    Args:
        name: one of `ORIGINS`, for the names of run and folder.
        begins_with: identity of the weights, or of the sizes of random ones.
        objective: the loss with new networks, on a schedule.
        save: writes the bundle of the averaged networks with what its card says.
    """

    name: str
    begins_with: str
    objective: Callable[[Schedule], Objective]
    save: Callable[[Any, dict[str, Any]], None]


def lesion_task(config: Config, dataset: str, store: list[Path], patch_vox: int) -> Task:
    """Return the task of one lesion dataset.

    Raises:
        UserError: it has fewer than two patients with lesions, one to learn from and one to test with.
    """
    lesions = with_lesions(where(open_store(store), dataset=dataset))
    patients = {record.meta.case for record in lesions}
    if len(patients) < 2:
        raise UserError(
            f"{dataset}: {len(patients)} patients with lesions, and two are the least: one to learn from, one to test"
        )
    records = TrainingRecords.from_store(lesions, "downstream")
    around = AroundLesions(lesions, patch_vox, config.augmentation)
    facts = {"lesions": around.lesions, "lesions_larger_than_patch": around.larger_than_patch}
    return Task(f"lesions-{dataset}", "lesions", records, around, config.finetuning.levels, facts)


def super_resolution_task(config: Config, store: list[Path], measured: list[Path]) -> Task:
    """Return the task of making thin slices out of thick ones.

    It is learned from measured thick slices where a dataset has them in its training split, as v3 does, else from those
    that the regions of the pretraining would have.

    Args:
        config: the sections of the stage `finetune_super_resolution`.
        store: indices of the crop store.
        measured: indices of the measured slices on the store's voxels; none where no dataset has such slices.
    """
    every, slices = open_store(store), {row.id: row for row in done_rows(measured)}
    factor = config.super_resolution.factor
    name, control, facts = f"super-resolution-{factor}", "super-resolution", {"factor": factor}
    paired = [record for record in every if record.id in slices]
    if not where(paired, split="train"):
        return Task(name, control, TrainingRecords.from_store(every), thick_drawer(factor), PATCH_ALONE, facts)
    records = TrainingRecords.from_store(paired, "downstream")
    records = replace(records, digest=digest([records.digest, sorted(row.sha256 for row in slices.values())]))
    draw = MeasuredSlices({record.folder: slices[record.id].path for record in paired})
    return Task(f"{name}-measured", control, records, draw, PATCH_ALONE, facts | {"slices": "measured"})


def finetune(task: Task, config: Config, place: Place) -> None:
    """Train a ControlNet on a foundation model that stays as it is, and write its bundle.

    Raises:
        TimeSliceEnded: the time is up; the same call goes on.
        UserError: the ControlNet that training shall start from is not there, or of another kind.
    """
    device = distributed.local_device(choose_device(config.machine.device))
    foundation = find_bundle(place.foundation)
    model = FoundationModel.from_pretrained(foundation, device)
    start = starting_control(config.finetuning.start_from, task.control, task.facts.get("factor"))
    begun_with = [sha256(start / CONTROL_WEIGHTS)] if start else []

    def objective(schedule: Schedule) -> Objective:
        torch.manual_seed(config.seed)
        control = ControlNet.from_unet(model.network)
        if start:
            begin_with_control(control, start)
        control = control.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return Finetuning(control, model.network, schedule, model.diffusion.prediction)

    def save(network: ControlNet, facts: dict[str, Any]) -> None:
        facts |= {"started_from": "".join(begun_with) or None}
        save_control(network, foundation, f"{model.name}, {task.name}", facts, place.out)

    begins_with = "-".join([sha256(foundation / WEIGHTS), *begun_with])
    _train(task, Origin("fine-tune", begins_with, objective, save), config, place, model)


def train_from_scratch(task: Task, config: Config, place: Place) -> None:
    """Train the same networks without the pretrained weights, the baseline of Table 6; then nothing is locked.

    The U-Net goes into the bundle's folder `foundation`.

    Raises:
        TimeSliceEnded: the time is up; the same call goes on.
    """
    device = distributed.local_device(choose_device(config.machine.device))
    model = FoundationModel.from_pretrained(place.foundation, device)  # for its sizes

    def objective(schedule: Schedule) -> Objective:
        torch.manual_seed(config.seed)
        unet = UNet(model.network.config)
        network = ControlledUNet(unet, ControlNet.from_unet(unet)).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return Objective(network, schedule, model.diffusion.prediction)

    def save(network: ControlledUNet, facts: dict[str, Any]) -> None:
        name, own = f"{task.name}, from scratch", place.out / SCRATCH_FOUNDATION
        FoundationModel(network.unet, model.diffusion, name, model.spacing_mm, model.windows).save(own, facts)
        save_control(network.control, own, name, facts, place.out)

    sizes = digest([model.network.config.model_dump(), model.diffusion.prediction])
    _train(task, Origin("scratch", sizes, objective, save), config, place, model)


def _train(task: Task, origin: Origin, config: Config, place: Place, model: FoundationModel) -> None:
    """Run the training loop in a folder that is named by all that decides the result.

    Args:
        task: what is learned.
        origin: what it begins with.
        config: the sections of the task's stage.
        place: where things lie.
        model: the foundation model.
    """
    settings = params_of(config, task.stage)
    device = next(model.network.parameters()).device
    folder = place.runs / f"{task.name}-{origin.name}-{digest([settings, task.records.digest, origin.begins_with])}"
    steps, training = config.finetuning.steps, training_config(config)
    run = Run(f"{origin.name} {task.name}", folder, config.seed, device, steps, place.max_minutes, config.machine)
    task.records.claim(folder, settings)
    patch_vox, samples = model.network.config.patch_vox, steps * training.samples_per_step
    data = task.records.patches(samples, task.levels, patch_vox, config.seed, task.draw)
    monitor = None
    if held_out := task.records.validation:
        watched = tuple(level for level in LEVELS if getattr(task.levels, level))
        patches = config.machine.validation_patches
        monitor = Monitor(held_out, patch_vox, patches, config.seed, device, task.draw, watched)
    loss = origin.objective(Schedule(model.diffusion.timesteps, device))
    for network in (module for module in loss.whole.modules() if isinstance(module, Encoder)):
        network.activation_checkpointing = config.machine.activation_checkpointing
    with distributed.process_group(device):
        averaged = train(run, loss, data, training, monitor)
    if distributed.rank() == 0:
        origin.save(averaged, task.records.facts(run, training.samples_per_step) | task.facts)


def training_config(config: Config) -> TrainingConfig:
    """Return how a ControlNet is trained: as in pretraining, but for what `finetuning` says."""
    return config.training.model_copy(update=config.finetuning.model_dump(exclude={"steps", "levels", "start_from"}))
