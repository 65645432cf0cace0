"""Thick slices: what a scan looks like with slices that are several times as thick, and the way back by interpolation.

All volumes are `zyx`, and slices lie along z. A thick slice is the mean of `factor` thin ones.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from meddiff.store.patches import Crop, Sample, cut, padded, random_corner
from meddiff.store.record import Record, open_array
from meddiff.volumes.hu import air_hu, normalise

if TYPE_CHECKING:
    import SimpleITK as sitk


def thicken(thin_ZYX: Tensor, factor: int) -> Tensor:
    """Return the thick slices of a volume, (Z / factor, Y, X), float32; thin ones that fill no thick one are left out.

    Choice: a box profile, the mean; the profile of a scanner is smoother and unknown.
    """
    whole = thin_ZYX[: len(thin_ZYX) // factor * factor].float()
    return whole.unflatten(0, (-1, factor)).mean(1)


def repeat(thick_ZYX: Tensor, factor: int) -> Tensor:
    """Return each thick slice `factor` times: factor times the adjoint of `thicken`."""
    return thick_ZYX.repeat_interleave(factor, 0)


def interpolate(thick_ZYX: Tensor, factor: int) -> Tensor:
    """Return the thin slices by linear interpolation between the centres of the thick ones, which go on at the ends."""
    columns = thick_ZYX.float().flatten(1).T[None]
    thin = F.interpolate(columns, scale_factor=factor, mode="linear", align_corners=False)
    return thin[0].T.unflatten(1, thick_ZYX.shape[1:])


def b_spline(thick_zyx: np.ndarray, factor: int) -> np.ndarray:
    """Return the thin slices by cubic B-splines, float32."""
    thick = thick_zyx.astype(np.float32)
    return ndimage.zoom(thick, (factor, 1, 1), order=3, mode="nearest", grid_mode=True)


def thin_grid(thick: "sitk.Image", factor: int) -> "sitk.Image":
    """Return an empty image whose slices divide those of a scan with thick slices."""
    import SimpleITK as sitk

    x_mm, y_mm, z_mm = thick.GetSpacing()
    width, height, depth = thick.GetSize()
    grid = sitk.Image((width, height, depth * factor), sitk.sitkInt16)
    grid.SetSpacing((x_mm, y_mm, z_mm / factor))
    grid.SetDirection(thick.GetDirection())
    first = -(factor - 1) / (2 * factor)  # the centre of the first thin slice, in thick slices
    grid.SetOrigin(thick.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, first)))
    return grid


def interpolated(thick: "sitk.Image", factor: int) -> "sitk.Image":
    """Return a scan with thick slices on the grid of its thin ones, linearly interpolated, int16 HU."""
    from meddiff.volumes import volumes

    thin_zyx = interpolate(torch.from_numpy(volumes.to_zyx(thick)), factor).numpy()
    return volumes.like(np.round(thin_zyx).astype(np.int16), thin_grid(thick, factor))


def draw_thick(
    record: Record, level: str, patch_vox: int, rng: np.random.Generator, index: int = 0, *, factor: int
) -> Sample:
    """Return a sample at a random place whose target condition is the scan with thick slices, in [-1, 1].

    The thick slices lie as those of the whole region do, so that a patch may begin within one. Super-resolution knows
    one voxel size alone, so the level is always `patch`.
    """
    corner = random_corner(record.meta.size_zyx, "patch", patch_vox, rng)
    before = corner[0] % factor
    first, count = corner[0] // factor - 1, -(-(before + patch_vox) // factor) + 2  # the interpolation needs both ends
    last_whole = max(0, record.meta.size_zyx[0] // factor - 1)
    wanted = np.clip(np.arange(first, first + count), 0, last_whole)  # the region's ends go on
    slices = (wanted[-1] - wanted[0] + 1) * factor
    air = air_hu(record.meta.window)
    thin = padded(record.ct, [int(wanted[0]) * factor, *corner[1:]], (int(slices), patch_vox, patch_vox), air)
    thick = thicken(torch.from_numpy(normalise(thin.numpy(), record.meta.window)), factor)
    smooth = interpolate(thick[wanted - wanted[0]], factor)
    start = before + factor
    return cut(record, Crop("patch", patch_vox, corner), index, smooth[None, start : start + patch_vox])


@dataclass(frozen=True)
class MeasuredSlices:
    """Draws samples as `draw_thick` does, but with the thick slices that were measured of the same patient.

    Args:
        arrays: record's folder -> its thick slices on its own voxels, linearly interpolated, int16 HU (`save_array`).
    """

    arrays: dict[Path, Path]

    def __call__(self, record: Record, level: str, patch_vox: int, rng: np.random.Generator, index: int = 0) -> Sample:
        """Return a sample with its target condition; the arguments are those of `patches.draw`."""
        corner = random_corner(record.meta.size_zyx, "patch", patch_vox, rng)
        window = record.meta.window
        smooth = padded(open_array(self.arrays[record.folder]), corner, (patch_vox,) * 3, air_hu(window))
        target = torch.from_numpy(normalise(smooth.numpy(), window))[None]
        return cut(record, Crop("patch", patch_vox, corner), index, target)


def thick_drawer(factor: int) -> partial:
    """Return `draw_thick` for one factor, with the arguments of `patches.draw`."""
    return partial(draw_thick, factor=factor)
