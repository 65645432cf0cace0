"""Whether the kernels can be compiled for a GPU and give there what torch's own layers give."""

import logging
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

TOLERANCE = 3e-3  # relative; products of float32 may be those of TF32 in the layers of torch


@cache
def kernels_work(device: torch.device) -> bool:
    """Compare forward and backward pass of each kernel with the plain layer, on a small volume in float32.

    It takes some seconds at the first time on a machine, for which Triton keeps what it compiles; for that it needs a
    C compiler. Where the kernels do not work, it is said, and plain layers are used.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            _compare(device)
    except Exception as error:  # of any of the tools that Triton calls
        log.info("no fused kernels on this GPU (%s: %s); plain layers instead", type(error).__name__, error)
        return False
    return True


def _compare(device: torch.device) -> None:
    from meddiff.model import kernels, kernels_image, kernels_join

    generator = torch.Generator(device).manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    h, skip, image, channels = randn(1, 16, 4, 6, 5), randn(1, 16, 4, 6, 5), randn(1, 1, 4, 6, 5), randn(16)
    label = (8 * torch.rand(1, 4, 6, 5, generator=generator, device=device)).to(torch.uint8)
    _check(
        lambda h, shift, weight, bias: kernels.NormSiLU.apply(h, shift, weight, bias, 4, 1e-5),
        lambda h, shift, weight, bias: F.silu(F.group_norm(h + shift[..., None, None, None], 4, weight, bias)),
        h, randn(1, 16), channels, randn(16),
    )  # fmt: skip
    _check(
        lambda h, skip, bias: kernels_join.AddWithBias.apply(1 * h, skip, bias),  # a product, since it adds in place
        lambda h, skip, bias: h + skip + bias[:, None, None, None],
        h, skip, channels,
    )  # fmt: skip
    _check(
        kernels_join.Join.apply,
        lambda h, skip, bias: torch.cat((h + bias[:, None, None, None], skip), dim=1),
        h, skip, channels,
    )  # fmt: skip
    _check(
        kernels_image.ImageToFeatures.apply,
        lambda image, weight, bias, more: F.conv3d(image, weight, bias, padding=1) + more,
        image, randn(16, 1, 3, 3, 3), channels, skip,
    )  # fmt: skip
    _check(
        kernels_image.FeaturesToImage.apply,
        lambda h, weight, bias: F.conv3d(h, weight, bias, padding=1),
        h, randn(1, 16, 3, 3, 3), randn(1),
    )  # fmt: skip
    _check(
        lambda table: kernels_image.Embed.apply(label, table, table.dtype),
        lambda table: F.embedding(label.int(), table).movedim(-1, 1),
        randn(8, 16),
    )  # fmt: skip


def _check(kernel: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    results = []
    for layer in (kernel, plain):
        given = [each.detach().requires_grad_() for each in inputs]
        out = layer(*given)
        results.append([out.detach(), *torch.autograd.grad(out.square().sum(), given)])
    for found, wanted in zip(*results, strict=True):
        difference = float((found - wanted).norm() / wanted.norm())
        if not difference < TOLERANCE:
            raise ArithmeticError(f"a result of {difference:.1e} beside that of torch's layer")
