"""Training of the denoisers that Table 4 compares with."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from meddiff.config import DenoiserRecipe, Window
from meddiff.errors import TimeSliceEnded
from meddiff.machine.files import digest
from meddiff.machine.progress import Progress
from meddiff.machine.seeds import seed_from
from meddiff.model.slice_denoiser import SliceDenoiser
from meddiff.training import checkpoint
from meddiff.training.mapnn import MapNnLearner
from meddiff.training.noise2sim import Noise2SimLearner
from meddiff.training.redcnn import RedCnnLearner
from meddiff.training.run import Clock, Run, alone, stop_requests
from meddiff.training.slice_learner import Learner, Scan

log = logging.getLogger(__name__)

LEARNERS = {"red-cnn": RedCnnLearner, "map-nn": MapNnLearner, "noise2sim": Noise2SimLearner}


def train_denoiser(run: Run, scans: Sequence[Scan], window: Window, recipe: DenoiserRecipe, out: Path) -> SliceDenoiser:
    """Return a trained denoiser and write it; a finished one is only read, a stopped one goes on exactly.

    Args:
        run: its name is one of `LEARNERS`; its seed is that of the weights and of all draws, and on a CPU it decides
            the result to the bit; checkpoints lie in a folder of this training within its folder.
        scans: to learn from; a method that is not supervised is given no clean ones.
        window: HU that the network sees.
        recipe: the numbers.
        out: the file of the weights.

    Raises:
        TimeSliceEnded: time is up or a stop signal came; a checkpoint is written.
    """
    identity = _identity(scans, window, recipe, run.seed)
    torch.manual_seed(run.seed)
    learner: Learner = LEARNERS[run.name](scans, window, recipe, run.device)
    if out.exists() and learner.network.read_facts(out)["identity"] == identity:
        log.info("%s: trained before, in %s", run.name, out.name)
        return learner.network.load(out, run.device)
    run = replace(run, folder=run.folder / f"{run.name}-{identity}")
    run.folder.mkdir(parents=True, exist_ok=True)
    with alone(run):
        _train(run, learner)
    learner.network.save(out, identity)
    return learner.network.eval()


def _train(run: Run, learner: Learner) -> None:
    step = _restore(run, learner)
    progress = Progress(f"train {run.name}", run.steps - step, every_seconds=10)
    with stop_requests() as stop:
        clock = Clock(stop, 60 * run.max_minutes, 60 * run.machine.checkpoint_minutes)
        while step < run.steps:
            error = learner.learn(step, np.random.default_rng(seed_from(run.seed, step)))
            step += 1
            progress.step(f"error {error * learner.network.window.width_hu:.1f} HU")
            if clock.wants_stop() and step < run.steps:
                _save(run, learner, step)
                raise TimeSliceEnded(f"{run.name}: stopped at step {step} of {run.steps}; the same command goes on")
            if clock.wants_save():
                _save(run, learner, step)
                clock.saved()


def _restore(run: Run, learner: Learner) -> int:
    """Go on from the newest checkpoint, if there is one, and return its step."""
    saved = checkpoint.load_latest(run.folder, run.device)
    if saved is None:
        return 0
    for name, part in learner.states.items():
        part.load_state_dict(saved[name])
    log.info("%s: going on from step %d", run.name, saved["step"])
    return saved["step"]


def _save(run: Run, learner: Learner, step: int) -> None:
    states = {name: part.state_dict() for name, part in learner.states.items()}
    checkpoint.save({"step": step, **states}, step, run.folder, run.machine.keep_checkpoints)


def _identity(scans: Sequence[Scan], window: Window, recipe: DenoiserRecipe, seed: int) -> str:
    data = [hashlib.sha256(hu_zyx.tobytes()).hexdigest() for scan in scans for hu_zyx in scan]
    return digest([data, window.model_dump(), recipe.model_dump(), seed])
