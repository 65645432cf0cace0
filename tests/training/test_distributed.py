"""Processes that share every step, over Gloo."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from meddiff.config import LevelWeights, MachineConfig, TrainingConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.model.controlnet import ControlNet
from meddiff.model.unet import UNet
from meddiff.store.patches import PatchDataset, draw
from meddiff.store.record import Record
from meddiff.store.thick_slices import thick_drawer
from meddiff.training import distributed, loop, run
from meddiff.training.gradients import Gradients
from meddiff.training.loop import train
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Finetuning, Objective
from meddiff.training.run import Run
from tests.training import SMALL
from tests.training.together import together

CONFIG = TrainingConfig(steps=4, batch_size=1, accumulation=4, learning_rate=1e-3, ema_decay=0.9, bfloat16=False)
CPU, MACHINE = torch.device("cpu"), MachineConfig(workers=0)


def run_training(folder, record_folder, minutes=float("inf"), controlled=False, machine=MACHINE, monitor=None):
    torch.manual_seed(0)
    unet = UNet(SMALL)
    torch.nn.init.normal_(unet.conv_out.weight)  # without it no gradient would reach a ControlNet
    objective = Objective(unet, Schedule(1000), "v")
    if controlled:
        objective = Finetuning(ControlNet.from_unet(unet), unet, Schedule(1000), "v")
    drawer = thick_drawer(2) if controlled else draw
    data = PatchDataset([Record(record_folder)], LevelWeights(), 16, 0, CONFIG.steps * CONFIG.samples_per_step, drawer)
    run = Run("test", folder, 0, CPU, CONFIG.steps, minutes, machine)
    return train(run, objective, data, CONFIG, monitor).state_dict()


def train_whole(rank, folder, record_folder, controlled):
    torch.save(run_training(folder, record_folder, controlled=controlled), folder / f"rank-{rank}.pt")


def trained_alone(folder, record_folder, controlled=False):
    """Train in one process, as fresh as those that share a run: what other tests leave behind may cost bits."""
    together(1, train_whole, folder, record_folder, controlled)
    return torch.load(folder / "rank-0.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, record):
    """The weights that one process gives, by whether a ControlNet is trained."""

    @cache
    def weights(controlled):
        return trained_alone(tmp_path_factory.mktemp("alone"), record.folder, controlled)

    return weights


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "controlled"), [(2, True), (4, False), (8, False)])
def test_any_number_of_processes_trains_as_one_to_the_bit(tmp_path, record, alone, processes, controlled):
    together(processes, train_whole, tmp_path, record.folder, controlled)
    for rank in range(processes):
        assert_same(torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True), alone(controlled))


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert [key for key, value in first.items() if not torch.equal(value, second[key])] == []


def train_one_step_more(rank, folder, record_folder):
    with pytest.raises(TimeSliceEnded):  # the time of only one process is up, and both stop
        run_training(folder, record_folder, 0 if rank == distributed.world_size() - 1 else 60)


@pytest.mark.slow
def test_a_run_goes_on_to_the_bit_with_another_number_of_processes(tmp_path, record, alone):
    together(2, train_one_step_more, tmp_path / "parts", record.folder)
    together(1, train_one_step_more, tmp_path / "parts", record.folder)
    together(3, train_one_step_more, tmp_path / "parts", record.folder)
    parts = trained_alone(tmp_path / "parts", record.folder)
    assert sorted(path.name for path in (tmp_path / "parts").glob("checkpoint-*.pt")) == [
        "checkpoint-000000003.pt",
        "checkpoint-000000004.pt",
    ]
    assert_same(parts, alone(False))


class Clocks(NamedTuple):
    """Seconds on the clocks of two processes whose optimizer steps take 10 s."""

    checkpoint_s: float
    slice_s: float = 1e6
    validation_s: float = 0  # of process 0, before the first step and after every second one
    late_s: float = 0  # in the first step of process 1
    stops: int = 0  # how often the run ends before its last step


CLOCKS = {
    "process 0 is late": Clocks(checkpoint_s=15, validation_s=6),
    "process 1 is late": Clocks(checkpoint_s=15, late_s=6),
    "a checkpoint is due during the validation": Clocks(checkpoint_s=25, validation_s=30),
    "the stop is due during the validation": Clocks(checkpoint_s=1e6, slice_s=25, validation_s=30, stops=1),
    "both are due during the validation": Clocks(checkpoint_s=25, slice_s=25, validation_s=30, stops=1),
    "both are due, process 1 is late": Clocks(checkpoint_s=15, slice_s=25, late_s=6, stops=1),
}


class SlowMonitor(Monitor):
    """Passes the time of a validation."""

    def losses(self, objective):
        run.time.now += self.patches
        return {}

    def pictures(self, objective):
        return {}


def train_by_these_clocks(rank, folder, record_folder):
    """Train under each pair of clocks, which tell the time of this process alone."""
    monkeypatch = pytest.MonkeyPatch()
    for name, clocks in CLOCKS.items():
        (folder / "case").write_text(name)
        time = SimpleNamespace(now=0.0, late_s=clocks.late_s if rank == 1 else 0)
        time.monotonic = lambda time=time: time.now
        monkeypatch.setattr(run, "time", time)
        monkeypatch.setattr(loop.State, "advance", passing_time(loop.State.advance, time))
        monitor = SlowMonitor([Record(record_folder)], 16, clocks.validation_s, 0, CPU)
        changes = {"checkpoint_minutes": clocks.checkpoint_s / 60, "validate_every": 2, "keep_checkpoints": 9}
        machine = MACHINE.model_copy(update=changes)
        for _ in range(clocks.stops):
            with pytest.raises(TimeSliceEnded):
                run_training(folder / name, record_folder, clocks.slice_s / 60, machine=machine, monitor=monitor)
        weights = run_training(folder / name, record_folder, machine=machine, monitor=monitor)
        torch.save(weights, folder / name / f"rank-{rank}.pt")
        monkeypatch.undo()


def passing_time(advance, time):
    def advance_in_time(*args):
        advance(*args)
        time.now += 10 + time.late_s
        time.late_s = 0

    return advance_in_time


@pytest.mark.slow
def test_no_difference_of_the_clocks_makes_processes_wait_for_each_other(tmp_path, record, alone):
    together(2, train_by_these_clocks, tmp_path, record.folder)
    for name in CLOCKS:
        assert len(list((tmp_path / name).glob("checkpoint-*.pt"))) > 1, name
        for rank in (0, 1):
            assert_same(torch.load(tmp_path / name / f"rank-{rank}.pt", weights_only=True), alone(False))


def train_apart(rank, folder, record_folder):
    with pytest.raises(UserError, match=rf"checkpoints of the steps \[1, 0\]; {folder}.* the same folder on all nodes"):
        run_training(folder / f"node-{rank}", record_folder)


@pytest.mark.slow
def test_processes_that_see_different_folders_do_not_train(tmp_path, record):
    with pytest.raises(TimeSliceEnded):
        run_training(tmp_path / "node-0", record.folder, minutes=0)
    together(2, train_apart, tmp_path, record.folder)


def test_processes_that_have_to_wait_are_told(caplog, monkeypatch, record):
    monkeypatch.setenv("WORLD_SIZE", "8")
    data = PatchDataset([record], LevelWeights(), 16, 0, 1)
    Gradients(
        Run("test", Path(), 0, CPU, CONFIG.steps, machine=MACHINE),
        Objective(UNet(SMALL), Schedule(1000), "v"),
        data,
        CONFIG,
        0,
    )
    (message,) = caplog.messages
    assert message == "test: 8 processes share the 4 passes of a step, so some of them wait; 4 would be as fast"
