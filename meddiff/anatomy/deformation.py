"""New anatomies out of known ones: smooth, invertible maps of a label map onto itself, within what bodies differ by.

A map is the exponential of a velocity field (a diffeomorphism, Arsigny et al. 2006), computed by scaling and squaring:
the field of a 64th of the time is composed with itself six times. Nothing folds, so that what lies inside, beside or
around an organ still does. The velocity is 0 at the ends of the volume, where a body may be cut off.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from meddiff.anatomy.labels import LABEL_COUNT, LUNG, ids
from meddiff.errors import CaseError
from meddiff.volumes import volumes

FIELD_MM = 6.0  # between the points at which a field is kept; linear in between
# Choice: how far a new body may be from its own, so that it looks like one that could be.
SIZE = 0.1  # largest share by which the body as a whole is longer or shorter, along each axis
DISPLACEMENT_MM, SMOOTH_MM = (
    5.0,
    30.0,
)  # standard deviation of random shifts, and of the Gaussian that makes them smooth
ORGAN_GROWTH = 0.12  # largest share by which an organ's lengths are drawn to grow or shrink in its middle
ORGAN_BLUR_MM, END_MM = 10.0, 36.0  # over which an organ's growth fades; from the ends, where the field rises from 0
VOLUME_RATIOS = 0.6, 1.6  # of an organ to what the body's size makes of it; others are drawn anew
LEAST_JACOBIAN = 0.15  # of the map at any voxel
LARGEST_ORGAN_SHARE, LEAST_ML = 0.5, 5.0  # of the labelled voxels, and volume, of the organs that grow on their own
ORGANS, DRAWS, SQUARINGS = 4, 8, 6

GROUPS = (ids(*LUNG),)  # labels that grow together; every other label is an organ of its own


@dataclass(frozen=True)
class NewAnatomy:
    """A label map that no scan has.

    Args:
        labels: uint8, with the spacing of the one it was made from.
        least_jacobian: the smallest determinant of the map's Jacobian: above 0, nothing folds.
        volume_ratios: label id -> its volume by what the body's size makes of it, for organs of `LEAST_ML` and more.
    """

    labels: sitk.Image
    least_jacobian: float
    volume_ratios: dict[int, float]

    @property
    def plausible(self) -> bool:
        low, high = VOLUME_RATIOS
        return self.least_jacobian > LEAST_JACOBIAN and all(low < r < high for r in self.volume_ratios.values())


def new_anatomy(labels: sitk.Image, rng: np.random.Generator) -> NewAnatomy:
    """Return another anatomy, made from a label map on axes of LPS with isotropic voxels.

    One that is not plausible is drawn again, a tenth weaker each time.

    Raises:
        CaseError: none of `DRAWS` was plausible.
    """
    for draw in range(DRAWS):
        made = deformed(labels, velocity_mm(labels, rng) * 0.9**draw, 1 + SIZE * rng.uniform(-1, 1, 3))
        if made.plausible:
            return made
    raise CaseError(f"none of {DRAWS} deformations is plausible")


def velocity_mm(labels: sitk.Image, rng: np.random.Generator) -> np.ndarray:
    """Return a random velocity field, mm, (z, y, x, xyz), at the points of `_field_grid`."""
    grid = _field_grid(labels)
    shape = grid.GetSize()[::-1]
    noise = rng.normal(size=(*shape, 3))
    smooth = np.stack([ndimage.gaussian_filter(noise[..., i], SMOOTH_MM / FIELD_MM) for i in range(3)], -1)
    velocity = smooth * (DISPLACEMENT_MM / smooth.std())
    coarse_zyx = volumes.to_zyx(sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    for organ_zyx in _growing(coarse_zyx, rng):
        velocity += _growth_mm(organ_zyx, ORGAN_GROWTH * rng.uniform(-1, 1))
    return velocity * _rising(shape)[..., None]


def deformed(labels: sitk.Image, velocity: np.ndarray, size_xyz: np.ndarray) -> NewAnatomy:
    """Return a label map after a map: the exponential of a velocity field, and then another size.

    Args:
        labels: on axes of LPS, isotropic.
        velocity: as `velocity_mm` returns it.
        size_xyz: length of the new body by that of the old one, along each axis.
    """
    field = _exponential(velocity, _field_grid(labels))
    jacobian = sitk.GetArrayFromImage(
        sitk.DisplacementFieldJacobianDeterminant(sitk.Cast(field, sitk.sitkVectorFloat32))
    )
    grid = _resized(labels, size_xyz)
    # A transform says where the content of a voxel comes from; of a composite the last is applied first.
    shrink = sitk.ScaleTransform(3, (1 / size_xyz).tolist())
    shrink.SetCenter(labels.GetOrigin())
    moves = sitk.CompositeTransform([sitk.DisplacementFieldTransform(field), shrink])
    result = sitk.Resample(labels, grid, moves, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    ratios = _volume_ratios(labels, result, float(np.prod(size_xyz)))
    return NewAnatomy(result, float(jacobian.min() / np.prod(size_xyz)), ratios)


def _exponential(velocity: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Return the displacement field of flowing along a velocity field for the time 1."""
    field = sitk.GetImageFromArray(velocity / 2**SQUARINGS, isVector=True)
    field.CopyInformation(grid)
    place = (grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection())
    for _ in range(SQUARINGS):
        once = sitk.DisplacementFieldTransform(sitk.Image(field))  # which takes its field away
        twice = sitk.CompositeTransform([once, once])
        field = sitk.TransformToDisplacementField(twice, sitk.sitkVectorFloat64, *place)
    return field


def _growing(labels_zyx: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return masks of some organs, in random order."""
    counts = np.bincount(labels_zyx.ravel(), minlength=LABEL_COUNT)
    least, most = LEAST_ML * 1000 / FIELD_MM**3, LARGEST_ORGAN_SHARE * counts[1:].sum()
    grouped = {label for group in GROUPS for label in group}
    organs = [*GROUPS, *((label,) for label in range(1, LABEL_COUNT) if label not in grouped)]
    large = [organ for organ in organs if least <= counts[list(organ)].sum() <= most]
    chosen = rng.permutation(len(large))[:ORGANS]
    return [np.isin(labels_zyx, large[i]) for i in chosen]


def _growth_mm(organ_zyx: np.ndarray, growth: float) -> np.ndarray:
    """Return the velocity, (z, y, x, xyz) mm, at which an organ's content comes from nearer to its middle."""
    share = ndimage.gaussian_filter(organ_zyx.astype(float), ORGAN_BLUR_MM / FIELD_MM)
    middle = ndimage.center_of_mass(organ_zyx)
    offsets = [axis - centre for axis, centre in zip(np.indices(organ_zyx.shape), middle, strict=True)]
    return -np.log1p(growth) * FIELD_MM * np.stack(offsets[::-1], -1) * share[..., None]


def _rising(shape: tuple[int, ...]) -> np.ndarray:
    """Return 0 at the ends of a volume and 1 from `END_MM` on, smooth in between."""
    rise = np.ones(shape)
    for axis, size in enumerate(shape):
        end_mm = FIELD_MM * np.minimum(np.arange(size), np.arange(size)[::-1])
        along = np.sin(np.pi / 2 * np.clip(end_mm / END_MM, 0, 1)) ** 2
        rise *= along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return rise


def _field_grid(labels: sitk.Image) -> sitk.Image:
    """Return an image whose points reach from the first voxel of a label map to the last one, or beyond it."""
    extent_mm = [(size - 1) * spacing for size, spacing in zip(labels.GetSize(), labels.GetSpacing(), strict=True)]
    grid = sitk.Image([int(np.ceil(length / FIELD_MM)) + 1 for length in extent_mm], sitk.sitkUInt8)
    grid.SetOrigin(labels.GetOrigin())
    grid.SetSpacing((FIELD_MM,) * 3)
    return grid


def _resized(labels: sitk.Image, size_xyz: np.ndarray) -> sitk.Image:
    """Return an empty image with the same voxels and origin for a body of another size."""
    grid = sitk.Image([max(1, round(n * f)) for n, f in zip(labels.GetSize(), size_xyz, strict=True)], sitk.sitkUInt8)
    grid.SetOrigin(labels.GetOrigin())
    grid.SetSpacing(labels.GetSpacing())
    return grid


def _volume_ratios(before: sitk.Image, after: sitk.Image, size: float) -> dict[int, float]:
    old, new = (np.bincount(volumes.to_zyx(image).ravel(), minlength=LABEL_COUNT) for image in (before, after))
    least = LEAST_ML * 1000 / float(np.prod(before.GetSpacing()))
    return {label: float(new[label] / old[label] / size) for label in range(1, LABEL_COUNT) if old[label] >= least}
