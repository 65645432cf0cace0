"""Resampling to an isotropic grid (section 4.1: 1.0 mm).

Scan and grid have the same axes, so each axis is resampled by itself, by a matrix product with the few old voxels that
a new one sees. The work goes through the grid in slabs of slices: beside scan (2 bytes a voxel) and result (4, with the
copy that becomes an image) it holds one slab in float32.
"""

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from scipy.interpolate import make_interp_spline

from meddiff.volumes import volumes
from meddiff.volumes.volumes import AIR_HU

BLOCK_VOX = 16  # new slices, rows or columns that are made by one matrix product
SLAB_VOX = 32  # new slices that are made at a time; neighbouring slabs filter the old slices between them twice
REACH_VOX = 6  # what a new voxel takes of farther ones sums up to less than 0.1 %


def resample_ct(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Return the CT on an axis-aligned isotropic grid, int16 HU; see `resample_onto`."""
    return resample_onto(image, isotropic_grid(image, spacing_mm))


def resample_onto(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Return the CT on an axis-aligned grid, int16 HU; air where the scan does not reach.

    Choice: cubic splines (Unser, Splines: a perfect fit, IEEE Signal Processing Magazine 1999), as nnU-Net and
    TotalSegmentator interpolate CT. Along an axis that shrinks, the kernel is stretched to the new voxels: thin
    structures do not alias, and what the new grid can show is kept. An edge overshoots by up to 11 % of its height. An
    oblique scan shrinks along its own axes and is then turned by linear interpolation.
    """
    if not np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-4):
        return volumes.onto(_shrink_oblique(image, grid.GetSpacing()), grid)
    first = (np.array(grid.GetOrigin()) - image.GetOrigin()) / image.GetSpacing()
    step = np.array(grid.GetSpacing()) / image.GetSpacing()
    weights = [_weights(*axis) for axis in zip(image.GetSize(), grid.GetSize(), first, step, strict=True)]
    return volumes.like(_resample(sitk.GetArrayViewFromImage(image), weights[::-1]), grid)


def isotropic_grid(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Return an empty isotropic image that covers the same box of space as another image."""
    return axis_aligned_grid(image, (spacing_mm, spacing_mm, spacing_mm))


def axis_aligned_grid(image: sitk.Image, spacing_xyz_mm: tuple[float, float, float]) -> sitk.Image:
    """Return an empty image that covers the same box of space; the centres of the boxes coincide.

    An oblique image gets the axis-aligned box around its corners.
    """
    size = np.array(image.GetSize())
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in size])).reshape(3, -1).T
    points_mm = np.array([image.TransformContinuousIndexToPhysicalPoint(c.tolist()) for c in corners])
    low_mm, high_mm = points_mm.min(0), points_mm.max(0)
    spacing_mm = np.array(spacing_xyz_mm)
    new_size = np.maximum(1, np.round((high_mm - low_mm) / spacing_mm)).astype(int)
    origin_mm = (low_mm + high_mm) / 2 - spacing_mm * (new_size - 1) / 2
    grid = sitk.Image(new_size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing_xyz_mm)
    grid.SetOrigin(origin_mm.tolist())
    return grid


def _shrink_oblique(image: sitk.Image, spacing_xyz_mm: tuple[float, ...]) -> sitk.Image:
    """Return the scan along its own axes, with no voxels smaller than these."""
    upright = sitk.Image(image)
    upright.SetDirection(np.eye(3).ravel().tolist())
    x_mm, y_mm, z_mm = np.maximum(image.GetSpacing(), spacing_xyz_mm).tolist()
    shrunk = resample_onto(upright, axis_aligned_grid(upright, (x_mm, y_mm, z_mm)))
    corner_vox = (np.array(shrunk.GetOrigin()) - image.GetOrigin()) / image.GetSpacing()
    shrunk.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(corner_vox.tolist()))
    shrunk.SetDirection(image.GetDirection())
    return shrunk


def _weights(old: int, new: int, first: float, step: float) -> np.ndarray:
    """Return what each of `new` voxels takes of the `old` ones, (new, old); it takes nothing where there are none.

    Args:
        old, new: voxels along the axis.
        first: centre of the first new voxel, in old voxels.
        step: a new voxel in old voxels.
    """
    centres = first + step * np.arange(new)[:, None]
    stretch = max(step, 1)
    beyond = int(np.ceil(REACH_VOX * stretch))
    places = np.arange(-beyond, old + beyond)
    wide = _cardinal_spline((places - centres.clip(0, old - 1)) / stretch)
    weights = wide[:, beyond:-beyond]
    for place in (*range(-beyond, 0), *range(old, old + beyond)):
        weights[:, _mirrored(place, old)] += wide[:, place + beyond]
    reached = (centres > -0.5 - 1e-6) & (centres < old - 0.5 + 1e-6)
    return np.where(reached, weights / weights.sum(1, keepdims=True), 0).astype(np.float32)


def _cardinal_spline(distance: np.ndarray) -> np.ndarray:
    """Return the cubic spline that is 1 at 0 and 0 at all other whole numbers, cut off at the reach."""
    knots = np.arange(-2 * REACH_VOX, 2 * REACH_VOX + 1)
    spline = make_interp_spline(knots, knots == 0)
    return np.where(np.abs(distance) <= REACH_VOX, spline(distance), 0)


def _mirrored(place: int, size: int) -> int:
    """Return a place beyond the first or last voxel mirrored at that voxel."""
    round_trip = max(1, 2 * (size - 1))
    return min(place % round_trip, -place % round_trip)


def _resample(ct_zyx: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Return the resampled scan, int16; HU count from air, which is what nothing weighs."""
    result = np.empty([len(w) for w in weights], np.int16)
    order = sorted(range(3), key=lambda axis: weights[axis].shape[0] / weights[axis].shape[1])
    for rows, seen, slab_weights in _blocks(weights[0], SLAB_VOX):
        slab = ct_zyx[seen].astype(np.float32) - AIR_HU
        for axis in order:  # those that shrink come first
            slab = _along(slab, axis, weights[axis] if axis else slab_weights)
        result[rows] = np.clip(np.rint(slab) + AIR_HU, AIR_HU, np.iinfo(np.int16).max)
    return result


def _along(array_zyx: np.ndarray, axis: int, weights: np.ndarray) -> np.ndarray:
    """Return the array with one axis resampled."""
    shape = list(array_zyx.shape)
    shape[axis] = len(weights)
    result = np.empty(shape, np.float32)
    for rows, seen, block in _blocks(weights, BLOCK_VOX):
        if axis == 2:
            np.matmul(array_zyx[:, :, seen], block.T, out=result[:, :, rows])
        elif axis == 1:
            np.matmul(block, array_zyx[:, seen], out=result[:, rows])
        else:
            np.matmul(block, array_zyx[seen].reshape(block.shape[1], -1), out=result[rows].reshape(len(block), -1))
    return result


def _blocks(weights: np.ndarray, most_vox: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Give new voxels block by block, with the old ones that they see and the weights between them."""
    for start in range(0, len(weights), most_vox):
        block = weights[start : start + most_vox]
        used = np.flatnonzero(block.any(0))
        seen = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
        yield slice(start, start + len(block)), seen, np.ascontiguousarray(block[:, seen])
