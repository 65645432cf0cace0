"""Our network against MONAI's with the same weights, in float64."""

import pytest
import torch
from torch import nn

from benchmarks.peers import monai_twin, twin_input
from meddiff.config import NetworkConfig
from meddiff.model.unet import UNet
from tests.model.grids import random_coordinates

SMALL = NetworkConfig(
    patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4, attention_heads=2
)
DEEP = SMALL.model_copy(update={"channel_multipliers": (1, 1, 2), "attention_levels": (1, 2), "blocks_per_level": 2})


@pytest.mark.parametrize("config", [SMALL, DEEP], ids=["small", "deep"])
def test_monais_network_with_our_weights_gives_our_estimate(config):
    torch.manual_seed(0)
    network = UNet(config).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 1, 8, 16, 8).double()
    anatomy = torch.randint(0, 119, (2, 8, 16, 8), dtype=torch.uint8)
    coordinates = random_coordinates(2, (8, 16, 8)).double()
    t, region = torch.tensor([3, 700]), torch.tensor([0, 2])
    with torch.no_grad():
        ours = network(x, t, region, network.encode_condition(anatomy, coordinates))
        context = network.region(region)[:, None]
        inputs = twin_input(network, x, anatomy, coordinates)
        theirs = monai_twin(network)(inputs, t, context=context, class_labels=region)
    assert ours.std() > 0.1  # not all zero, as a new network is
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)  # their features of t are float32
