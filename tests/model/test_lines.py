"""Lines: the sum of their convolutions is the convolution of the volumes that they stand for."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from meddiff.model.lines import convolve_lines


def case(sizes, channels=2, out=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    lines = [torch.randn(2, channels, size, generator=generator, dtype=dtype) for size in sizes]
    kernels = [torch.randn(out, channels, 3, 3, 3, generator=generator, dtype=dtype) for _ in sizes]
    return lines, [kernel.requires_grad_() for kernel in kernels]


def plain(lines, kernels):
    sizes = [line.shape[-1] for line in lines]
    total = 0
    for axis, (line, kernel) in enumerate(zip(lines, kernels, strict=True)):
        shape = [1, 1, 1]
        shape[axis] = sizes[axis]
        volume = line.view(*line.shape[:2], *shape).expand(*line.shape[:2], *sizes)
        total = total + F.conv3d(volume, kernel, padding=1)
    return total


@given(st.tuples(*[st.integers(2, 9)] * 3))
def test_it_is_the_convolution_of_the_volumes(sizes):
    lines, kernels = case(sizes)
    torch.testing.assert_close(convolve_lines(lines, kernels, torch.float64), plain(lines, kernels))


def test_channels_are_last_in_memory():
    assert convolve_lines(*case((4, 5, 6)), torch.float64).is_contiguous(memory_format=torch.channels_last_3d)


def test_so_are_its_gradients():
    lines, kernels = case((5, 4, 6))
    weight = torch.randn(2, 3, 5, 4, 6, dtype=torch.float64)
    volumes = convolve_lines(lines, kernels, torch.float64), plain(lines, kernels)
    found, expected = (torch.autograd.grad((volume * weight).sum(), kernels) for volume in volumes)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_and_low_precision_do_not_touch_it(dtype):
    lines, kernels = case((5, 4, 6), dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = convolve_lines(lines, kernels, torch.float32)
    assert found.dtype == torch.float32
    expected = plain([line.float() for line in lines], [kernel.float() for kernel in kernels])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class Elsewhere(torch.Tensor):
    """A tensor of the CPU that says it lies on Apple's GPU."""

    device = torch.device("mps")


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (torch.clone, "cpu"),
        (lambda tensor: tensor.to("meta"), "cpu"),
        (lambda tensor: tensor.as_subclass(Elsewhere), "mps"),
    ],
)
def test_autocast_is_off_where_the_lines_lie(monkeypatch, place, kind):
    asked, autocast = [], torch.autocast

    def noting(*given, **more):
        asked.append(given)
        return autocast(*given, **more)

    monkeypatch.setattr(torch, "autocast", noting)
    lines, kernels = (list(map(place, each)) for each in case((5, 4, 6)))
    assert convolve_lines(lines, kernels, torch.float32).shape == (2, 3, 5, 4, 6)
    assert asked == [(kind,)]
