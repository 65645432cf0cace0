"""The training loop: it learns, stops, goes on exactly, and says what is wrong."""

import json
import math
import os
import shutil
import signal
import time
from collections import namedtuple

import pytest
import torch

from meddiff.config import LevelWeights, MachineConfig, TrainingConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.machine.faults import machine_fault
from meddiff.machine.locks import locked
from meddiff.model.unet import UNet
from meddiff.store.patches import PatchDataset
from meddiff.training import gradients
from meddiff.training.gradients import Outcome, gradient_norm
from meddiff.training.loop import State, ema_decay, learning_rate, train
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Objective
from meddiff.training.run import Run
from tests.training import SMALL

Usage = namedtuple("Usage", "free")
CONFIG = TrainingConfig(steps=6, batch_size=2, accumulation=2, learning_rate=1e-3, ema_decay=0.9)
ADAM_BETA = 0.9  # of the first moment, after a step from nothing
CPU, MACHINE = torch.device("cpu"), MachineConfig(workers=0, status_seconds=1e-6)


def make_data(record, config):
    return PatchDataset([record], LevelWeights(), 16, 0, config.steps * config.samples_per_step)


def run_training(folder, record, config=CONFIG, minutes=float("inf"), machine=MACHINE):
    torch.manual_seed(0)
    run = Run("test", folder, 0, CPU, config.steps, minutes, machine)
    return train(run, make_objective(), make_data(record, config), config)


def make_objective():
    return Objective(UNet(SMALL), Schedule(1000), "v")


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


@pytest.mark.parametrize(
    ("workers", "decay", "stops"), [(0, "constant", CONFIG.steps - 1), (2, "constant", 2), (0, "cosine", 2)]
)
def test_a_stopped_run_goes_on_bit_by_bit(tmp_path, record, workers, decay, stops):
    config = CONFIG.model_copy(update={"learning_rate_decay": decay})
    machine = MACHINE.model_copy(update={"workers": workers})
    whole = run_training(tmp_path / "whole", record, config)
    for _ in range(stops):
        with pytest.raises(TimeSliceEnded, match="the same command goes on"):
            run_training(tmp_path / "parts", record, config, 0, machine)
    parts = run_training(tmp_path / "parts", record, config, machine=machine)
    assert same(whole, parts)


def test_with_little_shared_memory_the_training_reads_its_patches_itself(tmp_path, record, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=100_000))  # a batch has 143 kB
    machine = MACHINE.model_copy(update={"workers": 2})
    assert same(run_training(tmp_path / "whole", record), run_training(tmp_path / "small", record, machine=machine))
    assert "0 of 2 machine.workers" in caplog.text


def test_a_batch_that_never_comes_ends_the_training_instead_of_holding_it(tmp_path, record, monkeypatch):
    monkeypatch.setattr(gradients, "LONGEST_READ_S", 2)
    monkeypatch.setattr(gradients, "collate", lambda _: time.sleep(60))  # in the process that reads
    with pytest.raises(RuntimeError) as caught:
        run_training(tmp_path, record, machine=MACHINE.model_copy(update={"workers": 1}))
    assert "a process of this job died" in machine_fault(caught.value)


def test_a_finished_run_is_not_trained_again(tmp_path, record, monkeypatch):
    first = run_training(tmp_path, record)
    monkeypatch.setattr(Objective, "forward", None)
    assert same(first, run_training(tmp_path, record))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stop_signal_leads_to_a_checkpoint(tmp_path, record, monkeypatch, number):
    original = Objective.forward

    def with_signal(*args):
        os.kill(os.getpid(), number)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", with_signal)
        with pytest.raises(TimeSliceEnded, match="step 1 of 6"):
            run_training(tmp_path, record)
    assert same(run_training(tmp_path, record), run_training(tmp_path / "whole", record))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, record):
    for _ in range(3):
        with pytest.raises(TimeSliceEnded):
            run_training(tmp_path, record, minutes=0)
    newest = sorted(tmp_path.glob("checkpoint-*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert same(run_training(tmp_path, record), run_training(tmp_path / "whole", record))


def test_only_the_last_checkpoints_are_kept(tmp_path, record):
    for _ in range(4):
        with pytest.raises(TimeSliceEnded):
            run_training(tmp_path, record, minutes=0)
    assert [p.name for p in sorted(tmp_path.glob("*.pt"))] == ["checkpoint-000000003.pt", "checkpoint-000000004.pt"]


def corrupt(monkeypatch, factor, calls):
    """Multiply the loss by a factor in the given calls."""
    original, count = Objective.forward, iter(range(1000))
    monkeypatch.setattr(Objective, "forward", lambda *args: original(*args) * (factor if next(count) in calls else 1.0))


@pytest.mark.parametrize("factor", [float("nan"), 1e4])
def test_bad_steps_in_a_row_end_the_run_and_name_the_cases(tmp_path, record, monkeypatch, factor):
    corrupt(monkeypatch, factor, range(2, 1000))
    with pytest.raises(UserError, match=f"5 steps in a row; look at {record.meta.id}"):
        run_training(tmp_path, record)


@pytest.mark.parametrize("factor", [float("nan"), 1e4])
def test_one_bad_step_changes_no_weight(tmp_path, record, monkeypatch, factor):
    corrupt(monkeypatch, factor, [2])
    assert all(p.isfinite().all() for p in run_training(tmp_path, record).parameters())
    rows = statistics(tmp_path)
    assert [row["skipped"] for row in rows] == [0, 1, 1, 1, 1, 1]
    assert rows[-1]["step"] == CONFIG.steps


def statistics(folder):
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def test_statistics_tell_how_long_the_device_waited_for_data(tmp_path, record):
    run_training(tmp_path, record)
    assert all(0 <= row["data_wait_share"] <= 1 for row in statistics(tmp_path))


def test_statistics_of_lost_steps_are_dropped(tmp_path, record):
    with pytest.raises(TimeSliceEnded):
        run_training(tmp_path, record, minutes=0)
    with (tmp_path / "stats.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 9.0}\n')
    run_training(tmp_path, record)
    assert [row["step"] for row in statistics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert statistics(tmp_path)[2]["loss"] < 9


def test_activation_checkpointing_changes_nothing_but_memory(tmp_path, record):
    torch.manual_seed(0)
    objective = make_objective()
    objective.network.activation_checkpointing = True
    run = Run("test", tmp_path / "checkpointed", 0, CPU, CONFIG.steps, machine=MACHINE)
    assert same(train(run, objective, make_data(record, CONFIG), CONFIG), run_training(tmp_path / "plain", record))


@pytest.mark.slow
def test_the_network_learns_a_phantom_by_heart(tmp_path, record):
    """Its loss falls to a fraction, and what it draws from noise for the phantom's anatomy is the phantom."""
    config = CONFIG.model_copy(update={"steps": 500, "accumulation": 1, "learning_rate": 3e-3, "ema_decay": 0.98})
    data = PatchDataset([record], LevelWeights(image=1, double=0, patch=0), 16, 0, 1000)
    objective, monitor = make_objective(), Monitor([record], 16, 1, 0, CPU)
    untrained = difference(monitor.pictures(objective))
    trained = train(Run("test", tmp_path, 0, CPU, config.steps, machine=MACHINE), objective, data, config)
    losses = [row["loss"] for row in statistics(tmp_path)]
    assert sum(losses[-50:]) / 50 < 0.4 * sum(losses[:20]) / 20
    assert difference(monitor.pictures(objective.with_network(trained))) < 0.15 * untrained


def difference(pictures):
    """Return the mean difference of a scan and what is drawn beside it."""
    real, drawn = pictures["chest"].chunk(2, dim=1)
    return float((real - drawn).abs().mean())


def test_learning_rates():
    constant = TrainingConfig(learning_rate=1.0, warmup_steps=3)
    assert [learning_rate(i, 100, constant) for i in (0, 1, 2, 3, 99)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    cosine = TrainingConfig(learning_rate=1.0, learning_rate_decay="cosine")
    assert learning_rate(0, 100, cosine) == 1.0
    assert learning_rate(50, 100, cosine) == pytest.approx(0.5)
    assert learning_rate(99, 100, cosine) < 0.001


def test_a_second_training_in_the_same_folder_is_refused(tmp_path, record):
    with (
        locked(tmp_path / "lock", "the first"),
        pytest.raises(UserError, match=rf"test: {tmp_path} is in use by process {os.getpid()} "),
    ):
        run_training(tmp_path, record)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_the_log_says_how_long_a_training_is(tmp_path, record, caplog):
    with caplog.at_level("INFO"):
        run_training(tmp_path, record)
    assert "test: 6 steps of 4 samples (batch_size 2 x accumulation 2), 24 epochs of 1 regions" in caplog.messages


@pytest.mark.parametrize(("updates", "share"), [(10, 0.05), (100, 1e-5), (1000, 1e-5)])
def test_the_average_forgets_the_first_weights_also_in_a_short_run(updates, share):
    config = TrainingConfig(steps=updates, ema_decay=0.9999)
    assert math.prod(ema_decay(n, config) for n in range(1, updates)) < share


def advanced(gradient, steps=1):
    """Return the state of a training after steps of the same gradient in every weight."""
    torch.manual_seed(0)
    state, run = State(UNet(SMALL), CONFIG), Run("test", None, 0, CPU, 10, machine=MACHINE)
    for _ in range(steps):
        for parameter in state.network.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        norm = float(gradient_norm(list(state.network.parameters())))
        state.advance(Outcome(0.5, norm, False, False, 0.0), run, None)
    return state


def test_the_average_begins_with_the_weights_of_the_first_step():
    state = advanced(1e-4)
    assert same(state.network, state.ema.module)
    assert not same(state.network, advanced(1e-4, steps=2).ema.module)


def test_large_gradients_are_clipped_and_small_ones_are_not():
    norms = {}
    for gradient in (10.0, 1e-6):
        moments = [moment["exp_avg"] for moment in advanced(gradient).optimizer.state.values()]
        norms[gradient] = float(torch.cat([each.flatten() for each in moments]).norm()) / (1 - ADAM_BETA)
    numbers = sum(parameter.numel() for parameter in UNet(SMALL).parameters())
    assert norms[10.0] == pytest.approx(CONFIG.gradient_clip_norm, rel=1e-3)
    assert norms[1e-6] == pytest.approx(1e-6 * numbers**0.5, rel=1e-3)


def test_the_decay_of_the_average_rises_to_the_configured_one():
    decays = [ema_decay(n, CONFIG) for n in range(200)]
    assert decays == sorted(decays)
    assert decays[-1] == CONFIG.ema_decay


def test_the_averaged_weights_are_those_of_the_rising_decay(tmp_path, record):
    """One weight's averages, written down from the checkpoints of a run of so many steps."""
    machine = MACHINE.model_copy(update={"keep_checkpoints": 10})
    for _ in range(CONFIG.steps - 1):
        with pytest.raises(TimeSliceEnded):
            run_training(tmp_path, record, CONFIG, 0, machine)
    averaged = run_training(tmp_path, record, CONFIG, 0, machine)
    files = sorted(tmp_path.glob("*.pt"), key=lambda path: torch.load(path, weights_only=True)["step"])
    weights = [torch.load(path, weights_only=True)["model"]["conv_image.weight"] for path in files]
    assert len(weights) == CONFIG.steps
    expected = weights[0]
    for n, weight in enumerate(weights[1:], start=1):
        decay = min(CONFIG.ema_decay, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(averaged.conv_image.weight, expected)
