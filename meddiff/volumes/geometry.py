"""Where the voxels of an image lie: grids, whether two of them agree, and the shear of a tilted gantry."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.errors import CaseError

# Choice: less than half a voxel, over the whole volume, is no shear and no disagreement of two headers, but rounding.
TOLERANCE_VOX = 0.5
LARGEST_MM = 5000.0  # Choice: no scan is longer, and no computer could hold it at the model's spacing
FLAT = "the axes in its header do not span a space; convert the scan again"
FLATTEST = 0.3  # Choice: the volume of a voxel by that of a box with its sides; gantries tilt by 30 degrees: 0.87


@dataclass(frozen=True)
class Grid:
    """Voxel (i, j, k) of an image has its centre at `origin_mm + axes_mm @ (i, j, k)`, xyz in LPS.

    `axes_mm` need not be orthogonal: the slices of a tilted gantry are sheared.
    """

    size_xyz: tuple[int, ...]
    origin_mm: np.ndarray
    axes_mm: np.ndarray

    @classmethod
    def of(cls, image: Any) -> "Grid":
        """Return the grid of a `sitk.Image`, or of a `sitk.ImageFileReader` that has read the header.

        Of a fourth axis nothing is kept.
        """
        ways = np.reshape(image.GetDirection(), (image.GetDimension(), -1))[:3, :3]
        return cls(image.GetSize()[:3], np.array(image.GetOrigin()[:3]), ways * image.GetSpacing()[:3])

    @property
    def spacing_mm(self) -> np.ndarray:
        return np.linalg.norm(self.axes_mm, axis=0)

    def put_on(self, image: sitk.Image) -> sitk.Image:
        """Give an image of this size this place in space, and return it."""
        image.SetOrigin(self.origin_mm.tolist())
        image.SetSpacing(self.spacing_mm.tolist())
        image.SetDirection((self.axes_mm / self.spacing_mm).ravel().tolist())
        return image

    def index_of(self, points_mm: np.ndarray) -> np.ndarray:
        """Return the continuous indices, (points, xyz), of points in LPS."""
        return np.linalg.solve(self.axes_mm, (points_mm - self.origin_mm).T).T

    def corners_mm(self) -> np.ndarray:
        """Return the centres of the eight corner voxels, (8, xyz)."""
        return self.origin_mm + _ends(self.size_xyz) @ self.axes_mm.T

    def lies_on(self, other: "Grid") -> bool:
        """Return whether every voxel is, within half a voxel, one of the other grid's; the order of axes is free."""
        turn = np.round(np.linalg.solve(other.axes_mm, self.axes_mm))
        if not (np.abs(turn) @ np.ones(3) == 1).all() or not (np.ones(3) @ np.abs(turn) == 1).all():
            return False
        corners = other.index_of(self.corners_mm())
        voxels = np.round(corners[0]) + _ends(self.size_xyz) @ turn.T
        inside = (voxels >= 0).all() and (voxels < other.size_xyz).all()
        return bool(inside and np.abs(corners - voxels).max() < TOLERANCE_VOX)

    def equals(self, other: "Grid") -> bool:
        """Return whether two grids have the same voxels, whatever the order of their axes."""
        return self.lies_on(other) and np.prod(self.size_xyz) == np.prod(other.size_xyz)

    def orthogonal(self) -> "Grid":
        """Return the grid with the same slices whose third axis is perpendicular to them.

        The slices are as many and lie in the same planes; they grow so that none is cut where the shear has moved it.
        """
        normal = np.cross(self.axes_mm[:, 0], self.axes_mm[:, 1])
        normal /= np.linalg.norm(normal)
        step_mm = self.axes_mm[:, 2] @ normal
        axes_mm = np.column_stack([_perpendicular(self.axes_mm[:, :2]), step_mm * normal])
        drift_vox = self._drift_vox()
        if max(np.abs(drift_vox)) < TOLERANCE_VOX:
            return Grid(self.size_xyz, self.origin_mm, axes_mm)
        before, grown = np.floor(np.minimum(drift_vox, 0)), np.ceil(np.abs(drift_vox)).astype(int)
        columns, rows, slices = self.size_xyz
        origin_mm = self.origin_mm + axes_mm[:, :2] @ before
        return Grid((columns + int(grown[0]), rows + int(grown[1]), slices), origin_mm, axes_mm)

    def is_perpendicular(self) -> bool:
        """Return whether the axes are, but for the rounding of float32, at right angles to each other."""
        ways = self.axes_mm / self.spacing_mm
        return bool(np.abs(ways.T @ ways - np.eye(3)).max() < 1e-5)

    def is_sheared(self) -> bool:
        """Return whether the last slice lies beside the first one by more than rounding."""
        return bool(max(np.abs(self._drift_vox())) >= TOLERANCE_VOX)

    def _drift_vox(self) -> np.ndarray:
        """Return by how many voxels the last slice lies beside the first one, along the slices' two axes."""
        plane = self.axes_mm[:, :2]
        return (plane / self.spacing_mm[:2] ** 2).T @ self.axes_mm[:, 2] * (self.size_xyz[2] - 1)


def refuse_impossible(grid: Grid) -> None:
    """Check that voxels can lie so; a damaged header, or one in other units, would fill the memory.

    Raises:
        CaseError: no scan lies so.
    """
    if not (np.isfinite(grid.axes_mm).all() and np.isfinite(grid.origin_mm).all()):
        raise CaseError("the geometry in its header is not made of finite numbers; convert the scan again")
    sides_mm = grid.spacing_mm
    if not sides_mm.all() or abs(np.linalg.det(grid.axes_mm / sides_mm)) < FLATTEST:
        raise CaseError(FLAT)
    extent_mm = sides_mm * grid.size_xyz
    if extent_mm.max() > LARGEST_MM:
        raise CaseError(
            f"voxels of {'x'.join(f'{side:g}' for side in sides_mm)} mm would make it {extent_mm.max() / 1000:.3g} m "
            "long; correct the spacing in its header, or its unit"
        )


def _ends(size_xyz: tuple[int, ...]) -> np.ndarray:
    """Return the indices of the eight corner voxels, (8, xyz), the first voxel's first."""
    return np.array(np.meshgrid(*[(0, n - 1) for n in size_xyz], indexing="ij")).reshape(3, -1).T


def _perpendicular(plane_mm: np.ndarray) -> np.ndarray:
    """Return two axes, (3, 2), with the second one turned until it is perpendicular to the first one."""
    first, second = plane_mm.T
    unit = first / np.linalg.norm(first)
    turned = second - (second @ unit) * unit
    return np.column_stack([first, turned * np.linalg.norm(second) / np.linalg.norm(turned)])


def without_shear(image: sitk.Image, outside: float, interpolator: int = sitk.sitkLinear) -> sitk.Image:
    """Return an image whose axes are perpendicular, with everything at its place in space.

    Slices that a tilted gantry has set off against each other are moved within their planes (interpolated,
    rounded); where no slice reaches, the value is `outside`. An image without shear keeps its voxels.
    """
    grid = Grid.of(image)
    target = grid.orthogonal()
    if not grid.is_sheared():
        return image if np.allclose(grid.axes_mm, target.axes_mm) else target.put_on(image)
    where = target.put_on(sitk.Image(target.size_xyz, sitk.sitkUInt8))
    moved = sitk.Resample(image, where, sitk.Transform(), interpolator, outside, sitk.sitkFloat32)
    moved = sitk.Round(moved)
    return sitk.Cast(moved, image.GetPixelID())
