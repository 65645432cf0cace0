"""The training loop: it learns, stops, goes on exactly, and says what is wrong."""

import json
import os
import signal

import pytest
import torch

from meddiff.config import LevelWeights, NetworkConfig, TrainingConfig
from meddiff.data.patches import PatchDataset
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.model.unet import UNet
from meddiff.training import loop
from meddiff.training.loop import Run, learning_rate, train

SMALL = NetworkConfig(
    patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4, position_frequencies=2
)
CONFIG = TrainingConfig(
    steps=6, batch_size=2, accumulation=2, learning_rate=1e-3, ema_decay=0.9, workers=0, status_seconds=1e-6
)
CPU = torch.device("cpu")


def make_data(record, config):
    return PatchDataset([record.folder], LevelWeights(), 16, 0, config.steps * config.accumulation * config.batch_size)


def run_training(folder, record, config=CONFIG, minutes=float("inf")):
    torch.manual_seed(0)
    run = Run("test", folder, 0, CPU, minutes)
    return train(run, UNet(SMALL), make_data(record, config), Schedule(1000), "v", config)


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_goes_on_bit_by_bit(tmp_path, record, workers):
    config = CONFIG.model_copy(update={"workers": workers})
    whole = run_training(tmp_path / "whole", record)
    for _ in range(CONFIG.steps - 1):
        with pytest.raises(TimeSliceEnded, match="the same command goes on"):
            run_training(tmp_path / "parts", record, config, minutes=0)
    parts = run_training(tmp_path / "parts", record, config, minutes=0)
    assert same(whole, parts)


def test_a_finished_run_is_not_trained_again(tmp_path, record, monkeypatch):
    first = run_training(tmp_path, record)
    monkeypatch.setattr(loop, "diffusion_loss", None)
    assert same(first, run_training(tmp_path, record))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stop_signal_leads_to_a_checkpoint(tmp_path, record, monkeypatch, number):
    original = loop.diffusion_loss

    def with_signal(*args):
        os.kill(os.getpid(), number)
        return original(*args)

    monkeypatch.setattr(loop, "diffusion_loss", with_signal)
    with pytest.raises(TimeSliceEnded, match="step 1 of 6"):
        run_training(tmp_path, record)
    monkeypatch.setattr(loop, "diffusion_loss", original)
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


def test_a_loss_that_is_not_finite_skips_the_step_and_then_names_the_cases(tmp_path, record, monkeypatch):
    monkeypatch.setattr(loop, "diffusion_loss", lambda model, *_: model.conv_out.weight.sum() * float("nan"))
    with pytest.raises(UserError, match=f"not finite 5 steps in a row.*{record.meta.id}"):
        run_training(tmp_path, record)


def test_one_bad_step_changes_no_weight(tmp_path, record, monkeypatch):
    original, calls = loop.diffusion_loss, []

    def once_bad(*args):
        calls.append(1)
        return original(*args) * (float("nan") if len(calls) == 1 else 1)

    monkeypatch.setattr(loop, "diffusion_loss", once_bad)
    assert all(p.isfinite().all() for p in run_training(tmp_path, record).parameters())
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert rows[-1]["skipped"] == 1
    assert rows[-1]["step"] == CONFIG.steps


@pytest.mark.slow
def test_the_network_learns_a_phantom(tmp_path, record):
    config = CONFIG.model_copy(update={"steps": 200, "accumulation": 1, "learning_rate": 3e-3})
    data = PatchDataset([record.folder], LevelWeights(image=1, double=0, patch=0), 16, 0, 400)
    train(Run("test", tmp_path, 0, CPU), UNet(SMALL), data, Schedule(1000), "v", config)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert sum(losses[-50:]) / 50 < 0.6 * sum(losses[:20]) / 20


def test_learning_rates():
    constant = TrainingConfig(steps=100, learning_rate=1.0, warmup_steps=3)
    assert [learning_rate(i, constant) for i in (0, 1, 2, 3, 99)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    cosine = TrainingConfig(steps=100, learning_rate=1.0, learning_rate_decay="cosine")
    assert learning_rate(0, cosine) == 1.0
    assert learning_rate(50, cosine) == pytest.approx(0.5)
    assert learning_rate(99, cosine) < 0.001
