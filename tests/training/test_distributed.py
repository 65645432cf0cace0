"""Two processes that share every step, over Gloo."""

import os
import socket

import pytest
import torch
import torch.multiprocessing

from meddiff.config import LevelWeights, TrainingConfig
from meddiff.data.patches import PatchDataset, draw
from meddiff.data.thick_slices import thick_drawer
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.model.controlnet import ControlNet
from meddiff.model.unet import UNet
from meddiff.training import distributed
from meddiff.training.loop import Run, train
from meddiff.training.objective import Finetuning, Objective
from tests.training import SMALL

CONFIG = TrainingConfig(
    steps=4, batch_size=1, accumulation=4, learning_rate=1e-3, ema_decay=0.9, workers=0, bfloat16=False
)
CPU = torch.device("cpu")


def run_training(folder, record_folder, minutes=float("inf"), controlled=False):
    torch.manual_seed(0)
    unet = UNet(SMALL)
    torch.nn.init.normal_(unet.conv_out.weight)  # without it no gradient would reach a ControlNet
    objective = Objective(unet, Schedule(1000), "v")
    if controlled:
        objective = Finetuning(ControlNet.of(unet), unet, Schedule(1000), "v")
    drawer = thick_drawer(2) if controlled else draw
    data = PatchDataset([record_folder], LevelWeights(), 16, 0, CONFIG.steps * CONFIG.accumulation, drawer)
    return train(Run("test", folder, 0, CPU, minutes), objective, data, CONFIG).state_dict()


def process(rank, port, folder, record_folder, controlled):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.process_group(CPU):
        whole = run_training(folder / "whole", record_folder, controlled=controlled)
        for _ in range(CONFIG.steps - 1):
            # The clock of only one process has run out; both must stop.
            with pytest.raises(TimeSliceEnded):
                run_training(folder / "parts", record_folder, 0 if rank == 1 else 60, controlled)
        parts = run_training(folder / "parts", record_folder, controlled=controlled)
    torch.save({"whole": whole, "parts": parts}, folder / f"rank-{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("controlled", [False, True])
def test_two_processes_train_as_one_and_go_on_bit_by_bit(tmp_path, record, controlled):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(process, (port, tmp_path, record.folder, controlled), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    alone = run_training(tmp_path / "alone", record.folder, controlled=controlled)
    for name, value in first["whole"].items():
        assert torch.equal(value, first["parts"][name])
        assert torch.equal(value, second["whole"][name])
        torch.testing.assert_close(value, alone[name], atol=1e-5, rtol=1e-3)


def test_a_step_that_cannot_be_shared_is_refused(tmp_path, record, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="accumulation 4 cannot be shared by 3 processes"):
        run_training(tmp_path, record.folder)
