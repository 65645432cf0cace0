"""Scans and masks as Python has them: SimpleITK's images, arrays with their geometry, or files."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import SimpleITK as sitk
from typing_extensions import TypeVar

from meddiff.anatomy.numbering import MaskFile
from meddiff.errors import UserError


class Voxels(NamedTuple):
    """An array with what it does not tell: where its voxels lie.

    Args:
        values_zyx: HU or labels; z runs to the head, y to the back, x to the patient's left (LPS).
        spacing_zyx_mm: from voxel to voxel along each axis.
        origin_xyz_mm: of the first voxel's centre.
    """

    values_zyx: np.ndarray
    spacing_zyx_mm: tuple[float, ...]
    origin_xyz_mm: tuple[float, ...] = (0.0, 0.0, 0.0)


Image = TypeVar("Image", sitk.Image, Voxels, default=sitk.Image)
Source: TypeAlias = sitk.Image | Voxels | Path | str
Given: TypeAlias = Image | Path | str  # of a path the result is a `sitk.Image`


class Files:
    """Files for what is given in memory, since the tasks read, check and mend files: in a folder that goes with it.

    It can be read by this user alone.
    """

    def __enter__(self) -> "Files":
        self._folder = tempfile.TemporaryDirectory(prefix="meddiff-")
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def path(self, given: Source, name: str) -> Path:
        """Return the file of what is given, or one of this name with the same voxels at the same place."""
        if isinstance(given, str | Path):
            return Path(given)
        path = Path(self._folder.name) / f"{name}.nrrd"
        sitk.WriteImage(as_image(given) if isinstance(given, Voxels) else given, str(path))
        return path

    def without_folder(self, message: str) -> str:
        """Return a message in which the files of this folder have their names alone."""
        return message.replace(f"{self._folder.name}/", "")


def as_image(voxels: Voxels) -> sitk.Image:
    """Return an array with its geometry as an image.

    Raises:
        UserError: it is no array of numbers along three axes, or its geometry is none of three axes.
    """
    values_zyx = np.asarray(voxels.values_zyx)
    if values_zyx.ndim != 3 or values_zyx.size == 0:
        raise UserError(f"an array of shape {values_zyx.shape}: give three axes, z, y and x, with voxels along each")
    if values_zyx.dtype.kind not in "biuf" or values_zyx.itemsize > 8:
        raise UserError(f"an array of {values_zyx.dtype}: give whole numbers or floating-point ones of 64 bits at most")
    if not (_are_three_numbers(voxels.spacing_zyx_mm) and min(voxels.spacing_zyx_mm) > 0):
        raise UserError(f"the spacing {voxels.spacing_zyx_mm}: give a number of mm above 0 for each of z, y and x")
    if not _are_three_numbers(voxels.origin_xyz_mm):
        raise UserError(f"the origin {voxels.origin_xyz_mm}: give a number of mm for each of x, y and z")
    small = {"bool": np.uint8, "float16": np.float32}.get(values_zyx.dtype.name, values_zyx.dtype)
    image = sitk.GetImageFromArray(values_zyx.astype(small))
    image.SetSpacing([float(side) for side in voxels.spacing_zyx_mm[::-1]])
    image.SetOrigin([float(place) for place in voxels.origin_xyz_mm])
    return image


def _are_three_numbers(values: Any) -> bool:
    return np.shape(values) == (3,) and np.asarray(values).dtype.kind in "iuf" and bool(np.isfinite(values).all())


def as_given(result: sitk.Image, given: Given[Image] | MaskFile) -> Image:
    """Return a result as what it was made from is: an array for an array, an image for an image and for a file."""
    if isinstance(given, Voxels):
        return cast(Image, Voxels(sitk.GetArrayFromImage(result), result.GetSpacing()[::-1], result.GetOrigin()))
    return cast(Image, result)
