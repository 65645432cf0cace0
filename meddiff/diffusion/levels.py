"""The levels that a model is trained on (section 3.2), as a way from coarse to fine: what each shows and hands on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import ModelConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.layout import window_of
from meddiff.diffusion.sliding import Condition, Cost, Place, SlidingWindows
from meddiff.diffusion.solvers import MOST_NOISE, Span
from meddiff.diffusion.windows import overlapping_starts
from meddiff.model.info import window_flops
from meddiff.store.patches import LEVELS
from meddiff.store.record import resize_labels

END_SHARE = 0.1  # of the noise with which the next level begins
CORRECTIONS = 2


@dataclass(frozen=True)
class Part:
    """What is drawn at one level: so many steps, between these noises; none is as configured."""

    level: str
    steps: int
    span: Span | None = None


def parts_of(config: SamplingConfig, prediction: str, size_zyx: Sequence[int], patch_vox: int) -> list[Part]:
    """Return how a region of some size is drawn, coarse to fine; the paper's sampler knows the level of patches alone.

    Choice: a region that a double crop holds is not drawn as a whole before, one that a patch holds at no other level.
    A level ends at a tenth of the noise with which the next begins: what is finer would be lost in that. One that would
    begin with no more noise than it ends with takes a single step. A few-step model takes its own steps at each level,
    from that noise to a clean volume.

    Args:
        config: the sampler and its steps.
        prediction: what the model estimates.
        size_zyx: of the region.
        patch_vox: edge of the model's patch.
    """
    (_, first_steps, spacing), longest, own = config.recipe(prediction), max(size_zyx), config.coarse_to_fine
    finer = (longest > patch_vox) + (longest > 2 * patch_vox)
    if config.sampler == "sliding-windows" or not finer:
        return [Part("patch", first_steps)]
    if config.sampler == "preview":
        return [Part("image", first_steps)]
    levels, begins = LEVELS[-finer - 1 :], [MOST_NOISE, *(own.double_noise, own.patch_noise)[-finer:]]
    if spacing != "log-snr":
        return [Part(level, first_steps, Span(begin, 0.0)) for level, begin in zip(levels, begins, strict=True)]
    steps = [first_steps, *(own.double_steps, own.patch_steps)[-finer:]]
    ends = [*(noise * END_SHARE for noise in begins[1:]), config.last_noise]
    return list(map(_falling, levels, steps, begins, ends))


def _falling(level: str, steps: int, begin: float, end: float) -> Part:
    """Return the part of a level between two noises, in which noise never rises."""
    return Part(level, steps, Span(begin, end)) if begin > end else Part(level, 1, Span(begin, begin))


def planned_costs(config: SamplingConfig, prediction: str, size_zyx: Sequence[int], network: ModelConfig) -> list[Cost]:
    """Return what each level of a region that is all body costs; a few-step model at most as much."""
    own, costs = own_windows(config), []
    overlap = 0.0 if own.windows == "shifted" else own.overlap
    for part in parts_of(config, prediction, size_zyx, network.patch_vox):
        sides = [max(network.patch_vox, n) for n in size_at(part.level, size_zyx, network.patch_vox)]
        window = window_of(sides, network.patch_vox, network.divisor, own)
        count = math.prod(len(overlapping_starts(n, w, overlap)) for n, w in zip(sides, window, strict=True))
        costs.append(Cost(window, part.steps * count, count))
    return costs


def tflop_of(costs: Sequence[Cost], network: NetworkConfig) -> float:
    """Return the floating point operations of drawing a region, in 10^12."""
    per_window = [window_flops(network, cost.window_zyx) for cost in costs]
    return sum(c.estimates * e + c.encodings * n for c, (e, n) in zip(costs, per_window, strict=True)) / 1e12


def own_windows(config: SamplingConfig) -> SamplingConfig:
    """Return a configuration with the windows of its sampler."""
    if config.sampler == "coarse-to-fine":
        return config.model_copy(update={"overlap": config.coarse_to_fine.overlap})
    if config.drawing_overlap is None or config.windows == "shifted":
        return config
    return config.model_copy(update={"overlap": config.drawing_overlap, "windows": "fitted"})


def size_at(level: str, size_zyx: Sequence[int], patch_vox: int) -> tuple[int, ...]:
    """Return the voxels of a region at a level."""
    by_level = {"image": (patch_vox,) * 3, "double": tuple(-(-n // 2) for n in size_zyx), "patch": tuple(size_zyx)}
    return by_level[level]


def at_level(condition: Condition, level: str, patch_vox: int) -> Condition:
    """Return what a whole region shows at a level, with the voxels of `store.patches.cut`."""
    size = tuple(condition.anatomy_ZYX.shape)
    if level == "patch":
        return condition
    if level == "image":
        labels = torch.from_numpy(resize_labels(condition.anatomy_ZYX.numpy(), patch_vox))
        step = tuple(n / patch_vox for n in size)
    else:
        padding = [side for n in reversed(size) for side in (0, n % 2)]
        labels = F.pad(condition.anatomy_ZYX, padding)[1::2, 1::2, 1::2]
        step = (2.0,) * 3
    return replace(condition, anatomy_ZYX=labels.contiguous(), place=Place((0, 0, 0), size, step))


def carried(coarse: SlidingWindows, volume_ZYX: Tensor, fine: SlidingWindows) -> Tensor:
    """Return a volume of one level with the voxels of the next; around it is air.

    Choice: linear between voxels, and then so that the means over the coarse voxels are again what these were, as they
    are in training; linear alone would blur.
    """
    known = coarse.inner(volume_ZYX).to(fine.device)
    return fine.padded(_resampled(known, coarse.place, fine.place, fine.inner_size))


def onto_region(volume_ZYX: Tensor, place: Place) -> Tensor:
    """Return a volume of any level, in [-1, 1], with the voxels of its region; see `carried`."""
    whole = Place((0, 0, 0), place.region_zyx)
    return volume_ZYX if place == whole else _resampled(volume_ZYX, place, whole, place.region_zyx).clamp(-1, 1)


def _resampled(known_ZYX: Tensor, there: Place, here: Place, size_zyx: Sequence[int]) -> Tensor:
    coarse = [_edges(*each) for each in zip(there.offset_zyx, there.step_zyx, known_ZYX.shape, strict=True)]
    fine = [_edges(*each) for each in zip(here.offset_zyx, here.step_zyx, size_zyx, strict=True)]
    finer, coarser = (list(map(weights, coarse, fine)) for weights in (_interpolating, _averaging))
    result = _applied(finer, known_ZYX)
    for _ in range(CORRECTIONS):
        result += _applied(finer, known_ZYX - _applied(coarser, result))
    return result


def _applied(matrices_zyx: Sequence[Tensor], volume_ZYX: Tensor) -> Tensor:
    for axis, matrix in enumerate(matrices_zyx):
        volume_ZYX = torch.tensordot(matrix.to(volume_ZYX), volume_ZYX.movedim(axis, 0), 1).movedim(0, axis)
    return volume_ZYX.contiguous()


def _interpolating(coarse: Tensor, fine: Tensor) -> Tensor:
    """Return the weights of linear interpolation along an axis, (fine, coarse), between voxels with these edges."""
    last = len(coarse) - 2
    place = ((fine[1:] + fine[:-1]) / 2 - coarse[0]) / (coarse[1] - coarse[0]) - 0.5
    return (1 - (place.clamp(0, last)[:, None] - torch.arange(last + 1)).abs()).clamp(min=0)


def _averaging(coarse: Tensor, part: Tensor) -> Tensor:
    """Return the weights of the mean over each coarse voxel along an axis, (coarse, fine)."""
    whole = coarse[:, None]
    shared = torch.minimum(whole[1:], part[1:]) - torch.maximum(whole[:-1], part[:-1])
    return F.normalize(shared.clamp(min=0), p=1, dim=1)


def _edges(offset: int, step: float, voxels: int) -> Tensor:
    """Return where the voxels of a volume begin and end along an axis, in voxels of the region."""
    return offset + step * torch.arange(voxels + 1)
