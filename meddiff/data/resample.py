"""Resampling to an isotropic grid (section 4.1: 1.0 mm)."""

import math

import numpy as np
import SimpleITK as sitk

from meddiff.data.volumes import AIR_HU

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def resample_ct(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Return the CT on an axis-aligned isotropic grid, int16 HU, linear interpolation; see `resample_onto`."""
    return resample_onto(image, isotropic_grid(image, spacing_mm))


def resample_onto(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Return the CT on an axis-aligned grid, int16 HU, linear interpolation.

    Choice: an axis that shrinks is smoothed first, so that thin structures do not alias. The Gaussian is the one
    that widens a kernel of one old voxel (FWHM) to one new voxel.
    """
    smooth = sitk.Cast(image, sitk.sitkFloat32)
    for axis, (old_mm, new_mm) in enumerate(zip(image.GetSpacing(), grid.GetSpacing(), strict=True)):
        factor = new_mm / old_mm
        if factor > 1.01:
            sigma_mm = old_mm * math.sqrt(factor**2 - 1) / FWHM_PER_SIGMA
            smooth = sitk.RecursiveGaussian(smooth, sigma_mm, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis)
    out = sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear, float(AIR_HU), sitk.sitkFloat32)
    return sitk.Cast(sitk.Clamp(sitk.Round(out), lowerBound=AIR_HU, upperBound=32767), sitk.sitkInt16)


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
