"""Drawn lesion masks: a random shape of a chosen size inside a chosen organ."""

import numpy as np
from scipy import ndimage
from scipy.special import sph_harm_y

from meddiff.errors import CaseError

DEGREES = range(2, 6)  # of the spherical harmonics: 2 makes an ellipsoid, those above it bumps
ROUGHNESS = 0.35  # Choice: standard deviation of the radius' logarithm, about that of lung tumours


def draw_lesion(organ_zyx: np.ndarray, diameter_mm: float, spacing_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Return a lesion inside the organ, bool: a star-shaped body whose radius is a random function on the sphere.

    Choice: the logarithm of the radius is a sum of spherical harmonics of degree 2 to 5 with falling weight, scaled so
    that the volume is that of a ball of this diameter; its centre lies as deep in the organ as the size asks for, if
    the organ has room. What reaches beyond the organ, or into another part of it, is cut off.

    Args:
        organ_zyx: where the organ is, bool.
        diameter_mm: of a ball of the same volume.
        spacing_mm: size of the voxels.
        rng: of shape and place.

    Raises:
        CaseError: there is no organ, or the lesion is smaller than a voxel.
    """
    if not organ_zyx.any():
        raise CaseError("no organ to put a lesion in")
    radius_vox = diameter_mm / 2 / spacing_mm
    if radius_vox < 0.5:
        raise CaseError(f"a lesion of {diameter_mm:g} mm is smaller than a voxel of {spacing_mm:g} mm")
    depth = ndimage.distance_transform_edt(np.pad(organ_zyx, 1))[1:-1, 1:-1, 1:-1]
    candidates = np.argwhere(depth >= min(depth.max(), radius_vox))
    centre = candidates[rng.integers(len(candidates))]
    reach = int(np.ceil(3 * radius_vox))
    box = tuple(slice(max(0, c - reach), min(n, c + reach + 1)) for c, n in zip(centre, organ_zyx.shape, strict=True))
    offset = [np.arange(s.start, s.stop) - c for s, c in zip(box, centre, strict=True)]
    z, y, x = np.meshgrid(*offset, indexing="ij")
    distance = np.sqrt(z**2 + y**2 + x**2)
    polar, azimuth = np.arccos(z / np.maximum(distance, 1)), np.arctan2(y, x)
    lesion_zyx = np.zeros_like(organ_zyx, dtype=bool)
    lesion_zyx[box] = distance <= radius_vox * _relative_radius(polar, azimuth, rng)
    pieces_zyx, _ = ndimage.label(lesion_zyx & organ_zyx, np.ones((3, 3, 3)))
    return pieces_zyx == pieces_zyx[tuple(centre)]


def _relative_radius(polar: np.ndarray, azimuth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random function on the sphere whose cube is 1 on average, as the volume of such a body is."""
    orders = [(degree, order) for degree in DEGREES for order in range(-degree, degree + 1)]
    logarithm = sum(
        rng.normal(0, 1 / degree) * _real_harmonic(degree, order, polar, azimuth) for degree, order in orders
    )
    variance = sum((2 * degree + 1) / degree**2 / (4 * np.pi) for degree in DEGREES)  # by the addition theorem
    return np.exp(ROUGHNESS / np.sqrt(variance) * logarithm - 1.5 * ROUGHNESS**2)


def _real_harmonic(degree: int, order: int, polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Return the real spherical harmonic, orthonormal on the sphere."""
    if order == 0:
        return sph_harm_y(degree, 0, polar, azimuth).real
    part = sph_harm_y(degree, abs(order), polar, azimuth)
    return np.sqrt(2) * (part.real if order > 0 else part.imag)
