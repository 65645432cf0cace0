"""The building blocks against plain formulas, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meddiff.model.blocks import Downsample, NormSiLU, ResidualBlock, SpatialTransformer, Upsample


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def randomised(module: nn.Module) -> nn.Module:
    """Return the module in float64 without zero initialisation, so that every part counts."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


def group_norm(x_BCZYX, norm):
    grouped = x_BCZYX.reshape(len(x_BCZYX), norm.num_groups, -1)
    mean, variance = grouped.mean(2, keepdim=True), grouped.var(2, unbiased=False, keepdim=True)
    normed = ((grouped - mean) / (variance + norm.eps).sqrt()).reshape(x_BCZYX.shape)
    return normed * norm.weight[:, None, None, None] + norm.bias[:, None, None, None]


def silu(x):
    return x / (1 + torch.exp(-x))


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 5)])
def test_upsampling_is_nearest_neighbour_and_a_convolution_joined_with_a_skip(size):
    up = randomised(Upsample(4))
    h = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    repeated = h.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    skip = torch.randn(2, 3, *repeated.shape[2:], dtype=torch.float64, requires_grad=True)
    expected = torch.cat((F.conv3d(repeated, up.conv.weight, up.conv.bias, padding=1), skip), dim=1)
    torch.testing.assert_close(up(h, skip), expected)
    weight = torch.randn_like(expected)
    inputs = (h, skip, up.conv.weight, up.conv.bias)
    ours, plain = (torch.autograd.grad((y * weight).sum(), inputs) for y in (up(h, skip), expected))
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)]
)
def test_norm_and_activation_in_one_are_the_two_forward_and_backward(dtype, tolerance, memory_format):
    layer = randomised(NormSiLU(4, 16)).to(dtype)
    h = (3 * torch.randn(2, 16, 3, 5, 4) + 1).to(dtype, memory_format=memory_format).requires_grad_()
    exact = [tensor.detach().double().requires_grad_() for tensor in (h, layer.weight, layer.bias)]
    expected = F.silu(F.group_norm(exact[0], 4, *exact[1:], layer.eps))
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad(layer(h), (h, layer.weight, layer.bias), weight.to(dtype))
    plain = torch.autograd.grad(expected, exact, weight.to(dtype).double())
    for found, wanted in zip((layer(h), *ours), (expected, *plain), strict=True):
        assert (found - wanted).norm() <= tolerance * wanted.norm()


def test_downsampling_takes_every_second_voxel_of_a_convolution():
    down = randomised(Downsample(3))
    h = torch.randn(1, 3, 4, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(down(h), F.conv3d(h, down.weight, down.bias, padding=1)[:, :, ::2, ::2, ::2])


@pytest.mark.parametrize("channels_out", [4, 8])
def test_a_residual_block_is_its_formula(channels_out):
    block = randomised(ResidualBlock(4, channels_out, embedding=6, groups=2))
    h, embedding = torch.randn(2, 4, 3, 4, 5, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    inner = F.conv3d(silu(group_norm(h, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1)
    inner = inner + (silu(embedding) @ block.time.weight.T + block.time.bias)[:, :, None, None, None]
    inner = F.conv3d(silu(group_norm(inner, block.norm2)), block.conv2.weight, block.conv2.bias, padding=1)
    skip = h if channels_out == 4 else torch.einsum("bczyx,oc->bozyx", h, block.skip.weight[:, :, 0, 0, 0])
    bias = 0 if channels_out == 4 else block.skip.bias[:, None, None, None]
    torch.testing.assert_close(block(h, embedding), skip + bias + inner)


def test_a_spatial_transformer_is_its_formula():
    transformer = randomised(SpatialTransformer(4, context=6, heads=1, groups=2))
    h, context = torch.randn(2, 4, 2, 3, 2, dtype=torch.float64), torch.randn(2, 1, 6, dtype=torch.float64)

    def layer_norm(x, norm):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias

    def attend(attention, x, to):
        key, value = (to @ attention.key_value.weight.T).split(4, dim=-1)
        scores = (x @ attention.query.weight.T) @ key.transpose(1, 2) / 2  # the square root of 4 channels
        return scores.softmax(-1) @ value @ attention.out.weight.T + attention.out.bias

    tokens = group_norm(h, transformer.norm).reshape(2, 4, 12).transpose(1, 2)
    normed = layer_norm(tokens, transformer.norm_self)
    tokens = tokens + attend(transformer.attend_self, normed, normed)
    tokens = tokens + attend(transformer.attend_cross, layer_norm(tokens, transformer.norm_cross), context)
    first, _, second = transformer.feed
    hidden = layer_norm(tokens, transformer.norm_feed) @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    tokens = tokens + hidden @ second.weight.T + second.bias
    out = tokens @ transformer.out.weight.T + transformer.out.bias
    torch.testing.assert_close(transformer(h, context), h + out.transpose(1, 2).reshape(h.shape))
