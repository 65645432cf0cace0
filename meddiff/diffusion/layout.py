"""Where the windows of a volume lie at each step, and which of them are computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from meddiff.config import SamplingConfig
from meddiff.diffusion.windows import Corner, fitting_window, overlapping_starts, shifted_starts, window_slices
from meddiff.machine.seeds import seed_from


class Extent(NamedTuple):
    """A part of an axis: its first voxel and how many."""

    first: int
    size: int


@dataclass(frozen=True)
class Layout:
    """The windows of one volume.

    Choice: they cover the body's bounding box alone where the rest may be air; there are fewer then, and as good ones.

    Args:
        anatomy_ZYX: label ids of the volume, padded so that a patch fits in.
        patch_vox: edge of the model's patch.
        divisor: the edges of a window are multiples of it.
        config: overlapping or moving windows, and whether what has no anatomy is air.
        seed: decides where windows that move lie.
    """

    anatomy_ZYX: Tensor
    patch_vox: int
    divisor: int
    config: SamplingConfig
    seed: int

    @cached_property
    def extents_zyx(self) -> list[Extent]:
        """What the windows cover along each axis."""
        return [self._extent(axis) for axis in range(3)]

    @cached_property
    def window_zyx(self) -> tuple[int, ...]:
        """The edges of a window: those of a patch, or what fits."""
        return window_of([each.size for each in self.extents_zyx], self.patch_vox, self.divisor, self.config)

    def starts_zyx(self, step: int | None) -> list[list[int]]:
        """Return where the windows of a step begin along each axis; None is the last step.

        Choice: windows that move from step to step are averaged in the last one, after which nothing would mend a seam.
        """
        if self.config.windows != "shifted" or step is None:
            pairs = zip(self.extents_zyx, self.window_zyx, strict=True)
            found = [overlapping_starts(each.size, window, self.config.overlap) for each, window in pairs]
        else:
            generator = torch.Generator().manual_seed(seed_from(self.seed, step))
            shifts = torch.randint(self.patch_vox, (3,), generator=generator).tolist()
            shifted = zip(self.extents_zyx, shifts, strict=True)
            found = [shifted_starts(each.size, self.patch_vox, shift) for each, shift in shifted]
        return [[each.first + s for s in starts] for each, starts in zip(self.extents_zyx, found, strict=True)]

    def show_body(self, corners: list[Corner]) -> list[bool]:
        """Return which windows are computed: those with any anatomy, if the others may be air."""
        if not self.config.skip_air:
            return [True] * len(corners)
        return torch.stack([self.anatomy_ZYX[window_slices(c, self.window_zyx)].any() for c in corners]).tolist()

    def surrounded(self, volume_ZYX: Tensor, air: float) -> Tensor:
        """Return a volume, changed in place, that is air where no window lies."""
        for axis, (first, size) in enumerate(self.extents_zyx):
            volume_ZYX.narrow(axis, 0, first).fill_(air)
            volume_ZYX.narrow(axis, first + size, volume_ZYX.shape[axis] - first - size).fill_(air)
        return volume_ZYX

    def _extent(self, axis: int) -> Extent:
        size = self.anatomy_ZYX.shape[axis]
        if not self.config.skip_air:
            return Extent(0, size)
        planes = self.anatomy_ZYX.amax([other for other in range(3) if other != axis]).nonzero()
        first, end = (int(planes[0]), int(planes[-1]) + 1) if len(planes) else (0, 0)
        length = max(self.patch_vox, end - first)
        return Extent(min(max(0, (first + end - length) // 2), size - length), length)


def window_of(size_zyx: Sequence[int], patch_vox: int, divisor: int, config: SamplingConfig) -> tuple[int, ...]:
    """Return the edges of the windows that cover a volume of some size, at least a patch."""
    if config.windows != "fitted":
        return (patch_vox,) * 3
    return tuple(fitting_window(size, patch_vox, config.overlap, divisor) for size in size_zyx)
