"""MS-SSIM of two volumes (Wang et al. 2003), slab by slab, so that it takes little memory beside the volumes."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, fine to coarse
KERNEL_VOX, SIGMA_VOX = 7, 1.5
DATA_RANGE = 1.0
LUMINANCE, CONTRAST = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2  # C1 and C2 of Wang et al. 2004
SLAB = 8  # planes at a time; more would leave the processor's cache


@torch.inference_mode()
def ms_ssim(a_ZYX: Tensor, b_ZYX: Tensor, scales: int) -> float:
    """Return the multi-scale SSIM of two volumes in [-1, 1], from 0 to 1; nan where they are too small for the scales.

    It is computed on [0, 1], with a data range of 1: SSIM compares means by their ratio, which has no meaning for
    values of either sign, and knows of no offset.
    Choice: a Gaussian window of 7^3 with a standard deviation of 1.5, as WDM, since 11 needs sides over 160; windows
    that would leave the volume do not count; with fewer scales the weights of the finest ones are scaled up to 1.

    Args:
        a_ZYX: one volume, whose smallest side must be 7 * 2^(scales - 1) or more.
        b_ZYX: the other, of the same size.
        scales: from the full resolution down, each half as fine.
    """
    if a_ZYX.shape != b_ZYX.shape:
        raise ValueError(f"shapes differ: {tuple(a_ZYX.shape)}, {tuple(b_ZYX.shape)}")
    if min(a_ZYX.shape) >> (scales - 1) < KERNEL_VOX:
        return float("nan")
    weights = [weight / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales]]
    pair = (a_ZYX.float(), b_ZYX.float())
    score = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            pair = tuple(F.avg_pool3d(x[None, None], 2)[0, 0] for x in pair)
        structure, ssim = _means(*pair)
        score *= max(0.0, ssim if scale == scales - 1 else structure) ** weight
    return score


def _means(a_ZYX: Tensor, b_ZYX: Tensor) -> tuple[float, float]:
    """Return the means over all windows of contrast and structure, and of SSIM, which is these times luminance."""
    structure, ssim = 0.0, 0.0
    for a, b in _slabs(a_ZYX, b_ZYX):
        mean_a, mean_b = _smooth(a), _smooth(b)
        product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
        ratio = (_smooth(a * b) - product).mul_(2).add_(CONTRAST)
        ratio /= _smooth(a.square() + b.square()).sub_(squares).add_(CONTRAST)
        structure += ratio.sum(dtype=torch.float64).item()
        ratio *= product.mul_(2).add_(LUMINANCE).div_(squares.add_(LUMINANCE))
        ssim += ratio.sum(dtype=torch.float64).item()
    windows = math.prod(n - KERNEL_VOX + 1 for n in a_ZYX.shape)
    return structure / windows, ssim / windows


def _slabs(a_ZYX: Tensor, b_ZYX: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Return slabs of both volumes in [0, 1], which share so many planes that each window lies in one slab."""
    for start in range(0, len(a_ZYX) - KERNEL_VOX + 1, SLAB):
        planes = slice(start, start + SLAB + KERNEL_VOX - 1)
        yield (a_ZYX[planes] + 1) / 2, (b_ZYX[planes] + 1) / 2


def _smooth(x: Tensor) -> Tensor:
    """Return the weighted means of all windows that lie inside: the Gaussian along one axis after the other."""
    for axis in range(3):
        size = x.shape[axis] - KERNEL_VOX + 1
        smooth = x.narrow(axis, 0, size) * _GAUSSIAN[0]
        for tap in range(1, KERNEL_VOX):
            smooth.add_(x.narrow(axis, tap, size), alpha=_GAUSSIAN[tap])
        x = smooth
    return x


def _gaussian() -> list[float]:
    taps = [math.exp(-(((tap - KERNEL_VOX // 2) / SIGMA_VOX) ** 2) / 2) for tap in range(KERNEL_VOX)]
    return [tap / sum(taps) for tap in taps]


_GAUSSIAN = _gaussian()
