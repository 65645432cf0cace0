"""The kernels for GPUs against plain layers in float64, run by Triton's interpreter on the CPU (conftest.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from meddiff.config import NetworkConfig
from meddiff.model import fused, kernels, kernels_check, kernels_image, kernels_join
from meddiff.model.unet import UNet
from tests.model.grids import random_coordinates

SHAPES = [(2, 24, 8, (3, 5, 4)), (1, 32, 8, (2, 4, 4)), (2, 6, 1, (1, 2, 3))]


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """Let every program have several tiles."""
    torch.manual_seed(0)
    monkeypatch.setattr(kernels, "PROGRAMS", 3)
    monkeypatch.setattr(kernels, "TILE", 256)


def randn(*shape):
    return torch.randn(*shape).to(memory_format=torch.channels_last_3d) if len(shape) == 5 else torch.randn(*shape)


def check(function, plain, *inputs, tolerance=2e-6):
    """Compare the result and the gradients of all inputs with those of the plain form in float64."""
    ours = [x.detach().requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    out, expected = function(*ours), plain(*exact)
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    weight = randn(*out.shape)
    gradients = torch.autograd.grad(out, ours, weight), torch.autograd.grad(expected, exact, weight.double())
    for found, wanted in zip((out, *gradients[0]), (expected, *gradients[1]), strict=True):
        assert (found - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize(("batch", "channels", "groups", "size"), SHAPES)
def test_norm_and_activation(batch, channels, groups, size):
    check(
        lambda h, shift, weight, bias: kernels.NormSiLU.apply(h, shift, weight, bias, groups, 1e-5),
        lambda h, shift, weight, bias: F.silu(F.group_norm(h + shift[..., None, None, None], groups, weight, bias)),
        2 * randn(batch, channels, *size) + 1,
        randn(batch, channels),
        randn(channels),
        randn(channels),
    )


def test_a_norm_of_volumes_that_are_not_channels_last():
    h, affine = torch.randn(2, 8, 3, 4, 5), (torch.zeros(2, 8), torch.ones(8), torch.zeros(8))
    torch.testing.assert_close(kernels.NormSiLU.apply(h, *affine, 4, 1e-5), F.silu(F.group_norm(h, 4)))


@pytest.mark.parametrize(("batch", "channels", "groups", "size"), SHAPES)
def test_addition_with_bias(batch, channels, groups, size):
    check(
        lambda h, skip, bias: kernels_join.AddWithBias.apply(1 * h, skip, bias),  # a product, since it adds in place
        lambda h, skip, bias: h + skip + bias[:, None, None, None],
        randn(batch, channels, *size),
        randn(batch, channels, *size),
        randn(channels),
    )


@pytest.mark.parametrize(("batch", "channels", "groups", "size"), SHAPES)
def test_joining(batch, channels, groups, size):
    check(
        lambda first, second: kernels_join.Join.apply(first, second, None),
        lambda first, second: torch.cat((first, second), dim=1),
        randn(batch, channels, *size),
        randn(batch, 5, *size),
    )


@pytest.mark.parametrize(("batch", "channels", "groups", "size"), SHAPES)
def test_joining_with_bias(batch, channels, groups, size):
    check(
        kernels_join.Join.apply,
        lambda first, second, bias: torch.cat((first + bias[:, None, None, None], second), dim=1),
        randn(batch, channels, *size),
        randn(batch, 5, *size),
        randn(channels),
    )


@pytest.mark.parametrize(("batch", "channels", "groups", "size"), SHAPES)
def test_from_an_image_to_features(batch, channels, groups, size):
    check(
        kernels_image.ImageToFeatures.apply,
        lambda image, weight, bias, more: F.conv3d(image, weight, bias, padding=1) + more,
        randn(batch, 1, *size),
        randn(channels, 1, 3, 3, 3),
        randn(channels),
        randn(batch, channels, *size),
    )


@pytest.mark.parametrize(("batch", "channels", "groups", "size"), SHAPES)
def test_from_features_to_an_image(batch, channels, groups, size):
    check(
        kernels_image.FeaturesToImage.apply,
        lambda h, weight, bias: F.conv3d(h, weight, bias, padding=1),
        randn(batch, channels, *size),
        randn(1, channels, 3, 3, 3),
        randn(1),
    )


@pytest.mark.parametrize(("batch", "channels", "groups", "size"), SHAPES)
def test_embedding(batch, channels, groups, size):
    label = torch.randint(0, 119, (batch, *size), dtype=torch.uint8)
    check(
        lambda table: kernels_image.Embed.apply(label, table, torch.float32),
        lambda table: F.embedding(label.int(), table).movedim(-1, 1),
        randn(119, channels),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_weights_stay_as_they_are_and_results_have_the_type_of_the_volume(dtype):
    h, image = randn(1, 16, 4, 5, 6).to(dtype), randn(1, 1, 4, 5, 6)
    weight, bias = randn(1, 16, 3, 3, 3).requires_grad_(), randn(1).requires_grad_()
    out = kernels_image.FeaturesToImage.apply(h, weight, bias)
    first = kernels_image.ImageToFeatures.apply(image, weight.transpose(0, 1), bias.expand(16), h)
    assert out.dtype == first.dtype == dtype
    gradients = torch.autograd.grad(out.float().sum() + first.float().sum(), (weight, bias))
    assert {each.dtype for each in gradients} == {torch.float32}


def test_the_same_input_gives_the_same_bits():
    h, affine = randn(1, 16, 8, 9, 7), (torch.zeros(1, 16), torch.ones(16), torch.zeros(16))
    first, second = (kernels.NormSiLU.apply(h, *affine, 4, 1e-5) for _ in range(2))
    assert torch.equal(first, second)


def test_a_network_with_the_kernels_is_the_network_without(monkeypatch):
    config = NetworkConfig(
        patch_vox=8, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), attention_heads=1
    )
    network = UNet(config).to(memory_format=torch.channels_last_3d)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    x, anatomy = torch.randn(2, 1, 8, 8, 8), torch.randint(0, 119, (2, 8, 8, 8))
    t, region, coordinates = torch.tensor([10, 900]), torch.tensor([0, 2]), random_coordinates(2, (8, 8, 8))

    def results():
        network.zero_grad()
        out = network(x, t, region, network.encode_condition(anatomy, coordinates))
        out.square().mean().backward()
        return out.detach(), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    plain = results()
    monkeypatch.setattr(fused, "_has_kernels", lambda h: True)
    for found, wanted in zip(results(), plain, strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("capability", [80, 90])
def test_all_that_a_pass_launches_can_be_compiled_for_a_gpu(capability, tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.model.compile_kernels", str(capability)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    modules = (kernels, kernels_join, kernels_image)
    assert set(done.stdout.split()) == {name for each in modules for name in vars(each) if name.endswith("_kernel")}


def test_kernels_that_agree_with_the_plain_layers_are_used():
    kernels_check.kernels_work.cache_clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as sampling calls it
        assert kernels_check.kernels_work(torch.device("cpu"))


@pytest.mark.parametrize(
    ("module", "name"), [(kernels_image, "_gather"), (kernels_image, "_collect"), (kernels, "Grid")]
)
def test_kernels_that_do_not_agree_are_not_used(module, name, monkeypatch, caplog):
    right = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: 1.01 * right(*args))
    kernels_check.kernels_work.cache_clear()
    with caplog.at_level("INFO"):
        assert not kernels_check.kernels_work(torch.device("cpu"))
    assert "plain layers instead" in caplog.text
    kernels_check.kernels_work.cache_clear()
