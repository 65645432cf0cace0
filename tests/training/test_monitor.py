"""Validation losses and sample images."""

import json

import pytest
import torch
from PIL import Image

from meddiff.diffusion.schedule import Schedule
from meddiff.model.unet import UNet
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Objective
from meddiff.training.status import Status
from tests.training import SMALL

CPU = torch.device("cpu")


@pytest.fixture
def monitor(record):
    return Monitor([record], 16, 3, 0, CPU)


def test_a_network_that_estimates_nothing_has_the_mean_of_absolute_noise(monitor):
    losses = monitor.losses(Objective(UNet(SMALL), Schedule(1000), "epsilon"))
    assert set(losses) == {"chest/image", "chest/double", "chest/patch"}
    assert all(loss == pytest.approx((2 / torch.pi) ** 0.5, abs=0.02) for loss in losses.values())


def test_patches_timesteps_and_noise_are_fixed(monitor):
    torch.manual_seed(0)
    network = UNet(SMALL)
    torch.nn.init.normal_(network.conv_out.weight)
    objective = Objective(network, Schedule(1000), "epsilon")
    first = monitor.losses(objective)
    assert first == monitor.losses(objective)
    another = Monitor(monitor.records, 16, 3, 1, CPU)
    assert first != another.losses(objective)


def test_timesteps_are_spread_evenly(monitor, monkeypatch):
    seen, original = [], Objective.forward

    def forward(self, batch, noising):
        seen.append(int(noising.t_B))
        return original(self, batch, noising)

    monkeypatch.setattr(Objective, "forward", forward)
    monitor.losses(Objective(UNet(SMALL), Schedule(1000), "epsilon"))
    assert seen == 3 * [166, 500, 833]  # for each level


def test_a_picture_has_the_real_region_beside_the_drawn_one(monitor):
    picture = monitor.pictures(Objective(UNet(SMALL), Schedule(1000), "sample"))["chest"]
    assert picture.shape == (16, 32)
    real = torch.from_numpy(monitor.records[0].image_ct[:][8].astype("float32"))
    assert torch.corrcoef(torch.stack((picture[:, :16].flatten(), real.flatten())))[0, 1] > 0.999
    torch.testing.assert_close(picture[:, 16:], torch.full((16, 16), 0.5))  # it estimates x_0 = 0


def test_the_status_writes_losses_and_pictures(tmp_path, monitor):
    status = Status("test", tmp_path, 0, 10, 0.0)
    status.validation(5, {"chest/image": 0.25})
    status.pictures(5, {"chest": torch.linspace(0, 1, 8).reshape(2, 4)})
    status.close()
    assert json.loads((tmp_path / "stats.jsonl").read_text()) == {"step": 5, "validation/chest/image": 0.25}
    with Image.open(tmp_path / "samples" / "chest-000000005.png") as picture:
        assert picture.size == (4, 2)
        assert picture.getpixel((3, 1)) == 255
    assert list((tmp_path / "tensorboard").glob("events.*"))
