"""Convolutions in integers: exact in what they round to, near to those of float32, and alike in any batch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meddiff.config import NetworkConfig
from meddiff.machine.device import has_int8
from meddiff.model.blocks import ResidualBlock
from meddiff.model.controlnet import ControlledUNet, ControlNet
from meddiff.model.fused import NormSiLU
from meddiff.model.int8 import TOP, ZERO, Convolution8, ResidualBlock8, in_integers
from meddiff.model.unet import UNet
from tests.model.grids import random_coordinates

pytestmark = pytest.mark.skipif(not has_int8("cpu"), reason="this CPU is not made for integers of eight bits")
SMALL = NetworkConfig(patch_vox=16, channels=16, channel_multipliers=(1, 2), attention_levels=(1,), attention_heads=1)


def layers(channels_in=6, channels_out=5):
    torch.manual_seed(0)
    norm, convolution = NormSiLU(2, channels_in), nn.Conv3d(channels_in, channels_out, 3, padding=1)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm.bfloat16().requires_grad_(False), convolution.bfloat16().requires_grad_(False)


def activations(norm, *size):
    return norm(torch.randn(3, norm.num_channels, *size).bfloat16().contiguous(memory_format=torch.channels_last_3d))


@pytest.mark.parametrize("size", [(4, 5, 7), (1, 1, 1), (1, 6, 2)])
def test_it_is_the_convolution_of_the_rounded_numbers(size):
    norm, convolution = layers()
    integers, h = Convolution8(convolution, norm), activations(norm, *size)
    levels = integers.levels(h)
    rounded = (levels.double() - ZERO) * integers.step
    steps = integers.steps_C.double()[:, None, None, None, None]
    weight = (convolution.weight.double() / steps).round() * steps
    torch.testing.assert_close(
        integers(h).double(), F.conv3d(rounded, weight, padding=1), rtol=2**-7, atol=1e-4
    )  # bfloat16
    assert (rounded - h.double()).abs().max() < 0.6 * integers.step + 2**-8 * h.abs().max()


def test_it_is_near_to_the_convolution_in_float32():
    norm, convolution = layers(32, 16)
    h = activations(norm, 8, 8, 8)
    expected = F.conv3d(h.float(), convolution.weight.float(), padding=1)
    assert (Convolution8(convolution, norm)(h).float() - expected).std() < 0.03 * expected.std()


def test_what_is_too_large_is_cut_off_and_does_not_wrap():
    norm, convolution = layers()
    huge = torch.full((1, 6, 3, 3, 3), 1e4).bfloat16()
    assert (Convolution8(convolution, norm).levels(huge) == TOP).all()


def test_weights_of_zero_give_zero():
    norm, convolution = layers()
    nn.init.zeros_(convolution.weight)
    assert not Convolution8(convolution, norm)(activations(norm, 4, 4, 4)).any()


def test_a_result_does_not_depend_on_its_batch():
    norm, convolution = layers()
    integers, h = Convolution8(convolution, norm), activations(norm, 4, 4, 4)
    assert torch.equal(integers(h), torch.cat([integers(each[None]) for each in h]))


@pytest.mark.parametrize("controlled", [False, True])
def test_a_network_estimates_nearly_the_same(controlled):
    torch.manual_seed(0)
    network = UNet(SMALL)
    if controlled:
        network = ControlledUNet(network, ControlNet.from_unet(network))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    rounded = copy.deepcopy(network).to(torch.bfloat16, memory_format=torch.channels_last_3d)
    in_integers(rounded)
    assert not any(isinstance(module, ResidualBlock) for module in rounded.modules())
    assert any(isinstance(module, ResidualBlock8) for module in rounded.modules())
    expected, found = estimate(network, controlled), estimate(rounded, controlled)
    assert 0 < (found - expected).abs().mean() < 0.05 * expected.std()


def estimate(network, controlled):
    generator = torch.Generator().manual_seed(1)
    anatomy = torch.randint(0, 119, (2, 16, 16, 16), generator=generator)
    target = torch.randn(2, 1, 16, 16, 16, generator=generator) if controlled else None
    condition = network.encode_condition(anatomy, random_coordinates(2, (16, 16, 16), generator), target)
    x = torch.randn(2, 1, 16, 16, 16, generator=generator)
    with torch.inference_mode():
        return network.eval()(x, torch.tensor([30, 800]), torch.tensor([0, 1]), condition).float()
