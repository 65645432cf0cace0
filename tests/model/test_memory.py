"""The memory of a training step, counted without a GPU."""

from pathlib import Path

import pytest
import torch

from meddiff.config import Config, NetworkConfig
from meddiff.model.memory import step_memory
from meddiff.model.unet import UNet

SMALL = NetworkConfig(
    patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4, anatomy_channels=5,
    position="none",
)  # fmt: skip
PAPER = Config().network("meddiff-fm")


def saved_by_a_real_pass(network, batch_size):
    """Count what a pass over real tensors keeps, each storage once."""
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    size = (network.config.patch_vox,) * 3
    number = torch.zeros(batch_size, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        anatomy = torch.zeros(batch_size, *size, dtype=torch.uint8)
        condition = network.encode_condition(anatomy, torch.zeros(batch_size, 3, *size))
        network(torch.zeros(batch_size, 1, *size), number, number, condition).float().abs().mean()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_is_counted_without_data_is_what_a_real_pass_keeps(checkpointing):
    network = UNet(SMALL)
    network.activation_checkpointing = checkpointing
    assert step_memory(SMALL, 2, checkpointing).saved == pytest.approx(saved_by_a_real_pass(network, 2), rel=0.02)


def test_the_papers_network_trains_with_16_gb_at_a_patch_a_pass():
    assert 1.25 * step_memory(PAPER, 1, False).total < 16e9
    assert step_memory(PAPER, 1, True).total < step_memory(PAPER, 1, False).total


def test_the_documented_table_is_what_is_counted():
    lines = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text().splitlines()
    rows = [
        line.strip("| ").split(" | ") for line in lines if line.endswith((" 16 GB |", " 24 GB |", "checkpointing |"))
    ]
    assert [row[0] for row in rows] == ["1", "2", "4", "8"]
    for batch_size, plain, checkpointing, _ in rows:
        counted = [step_memory(PAPER, int(batch_size), saving).total / 1e9 for saving in (False, True)]
        assert [float(plain), float(checkpointing)] == pytest.approx(counted, abs=0.051)
