"""Distillation of a trained model to few steps: halved again and again, or at once.

Choice: progressive distillation (Salimans and Ho 2022), because each halving is an ordinary training run with a target
that is computed, not bootstrapped, the sampler of the result is plain DDIM, and a student of N steps is never far from
its teacher of 2 N. And for very few steps multistep consistency distillation (Heek et al. 2024), which differs in the
target alone: distribution matching trains a second network beside the student, shortcuts and mean flows need a network
with one more input.
"""

import copy
import time
from dataclasses import replace
from pathlib import Path

from meddiff.config import Config, DistillationConfig
from meddiff.config.stages import params_of
from meddiff.diffusion.schedule import Schedule
from meddiff.machine.device import choose_device
from meddiff.machine.files import digest, sha256
from meddiff.model.foundation import WEIGHTS, FoundationModel, find_bundle
from meddiff.store.augmentation import augmented
from meddiff.store.query import open_store
from meddiff.training import distributed
from meddiff.training.loop import train
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Consistency, Distillation, Objective
from meddiff.training.records import TrainingRecords
from meddiff.training.run import Run


def distill(config: Config, teacher: Path, store: list[Path], runs: Path, out: Path, max_minutes: float) -> None:
    """Distil a model to `config.distillation.steps` steps, and write the bundle.

    Each run lies where a distillation to its own number of steps looks for it, so that one to fewer goes on from there.

    Args:
        config: the sections of the stage `distill`.
        teacher: bundle of the model to distil.
        store: the store's shard indices.
        runs: folder of the run folders, one for each student; a stopped one goes on.
        out: folder of the bundle.
        max_minutes: end with a checkpoint after this time.

    Raises:
        TimeSliceEnded: the time is up; the same call goes on.
    """
    began = time.monotonic()
    records = TrainingRecords.from_store(open_store(store))
    device = distributed.local_device(choose_device(config.machine.device))
    bundle = find_bundle(teacher)
    model = FoundationModel.from_pretrained(bundle, device)
    weights = sha256(bundle / WEIGHTS)
    with distributed.process_group(device):
        for steps in students(config.distillation):
            settings = params_of(_to_steps(config, steps).with_model(model.name), "distill")
            folder = runs / f"{model.name}-{steps}-steps-{digest([settings, records.digest, weights])}"
            records.claim(folder, settings)
            left = max_minutes - (time.monotonic() - began) / 60
            name, training_steps = f"distill {model.name} to {steps} steps", config.distillation.training_steps
            run = Run(name, folder, config.seed, device, training_steps, left, config.machine)
            model = _distil_once(model, steps, run, records, config)
            if steps == config.distillation.steps and distributed.rank() == 0:
                model.save(out, records.facts(run, config.training.samples_per_step))


def students(settings: DistillationConfig) -> list[int]:
    """Return the steps of each student: half of `first_steps`, a quarter of it, and so on, or the last one's alone."""
    if settings.method == "consistency":
        return [settings.steps]
    halvings = settings.first_steps.bit_length() - settings.steps.bit_length()
    return [settings.first_steps >> number for number in range(1, halvings + 1)]


def _to_steps(config: Config, steps: int) -> Config:
    return config.model_copy(update={"distillation": config.distillation.model_copy(update={"steps": steps})})


def _distil_once(
    teacher: FoundationModel, steps: int, run: Run, records: TrainingRecords, config: Config
) -> FoundationModel:
    """Return the student of one run.

    Choice: a tenth of the run warms up, because Adam's first steps move a trained network far.
    Choice: a student of a teacher that estimates the noise estimates v, because noise says nothing about x_0 at the
    first timesteps, where a few-step model takes its largest steps (Salimans and Ho 2022, section 4).
    Choice: such a student, too, begins with its teacher's weights. What its last layer means is new, so it is far from
    the teacher at the first step, but what it knows of anatomy is not lost.
    """
    settings = config.distillation
    training = config.training.model_copy(
        update={
            "learning_rate": settings.learning_rate,
            "learning_rate_decay": "cosine",
            "warmup_steps": run.steps // 10,
        }
    )
    before = teacher.diffusion.prediction
    diffusion = teacher.diffusion.model_copy(update={"prediction": "v" if before == "epsilon" else before})
    student = copy.deepcopy(teacher.network).train().requires_grad_(True)
    student.activation_checkpointing = config.machine.activation_checkpointing
    schedule = Schedule(diffusion.timesteps, run.device)
    known, prediction = Objective(teacher.network, schedule, before), diffusion.prediction
    if settings.method == "progressive":
        objective = Distillation(student, known, prediction, steps, 2 * steps)
    else:
        objective = Consistency(student, known, prediction, steps, settings.first_steps)
    levels, drawer = config.variant(teacher.name).levels, augmented(config.augmentation)
    samples = run.steps * training.samples_per_step
    data = records.patches(samples, levels, config.model.patch_vox, config.seed, drawer)
    averaged = train(run, objective, data, training, Monitor.from_config(records.validation, config, run.device))
    return replace(teacher, network=averaged, diffusion=diffusion, steps=steps)
