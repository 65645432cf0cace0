"""Volumes in one file: sheared and slightly crooked NIfTI headers, grids from headers alone."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.errors import CaseError
from meddiff.volumes.files import read_file, read_file_grid
from meddiff.volumes.geometry import Grid

VALUES_XYZ = np.random.default_rng(0).integers(-1000, 1000, (7, 6, 5)).astype(np.int16)


def write_nifti(path, shear, values=VALUES_XYZ):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2], affine[:3, 3] = shear, (4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)  # type: ignore[attr-defined]


@pytest.mark.parametrize("shear", [0.002, -1.1])
def test_a_nifti_whose_axes_are_not_perpendicular_keeps_them(tmp_path, shear):
    write_nifti(tmp_path / "a.nii.gz", shear)
    image = read_file(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VALUES_XYZ.T)
    # (1, 1, 2) in RAS is at (4 + 2, 5 + 2 + 2 shear, 6 + 6)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((1, 1, 2)), (-6, -7 - 2 * shear, 12), atol=1e-5)


def test_a_sheared_nifti_with_a_slope_is_scaled(tmp_path):
    file = nibabel.Nifti1Image(VALUES_XYZ, np.array([[2.0, 0, 0, 0], [0, 2, 1, 0], [0, 0, 3, 0], [0, 0, 0, 1]]))  # type: ignore[attr-defined]
    file.header.set_slope_inter(0.5, -3)
    nibabel.save(file, tmp_path / "a.nii")  # type: ignore[attr-defined]
    np.testing.assert_allclose(sitk.GetArrayFromImage(read_file(tmp_path / "a.nii")), VALUES_XYZ.T * 0.5 - 3)


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_the_grid_is_read_without_the_voxels(tmp_path, suffix, monkeypatch):
    image = sitk.Image(4, 5, 6, sitk.sitkInt16)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((7.0, 8.0, 9.0))
    sitk.WriteImage(sitk.DICOMOrient(image, "RSA"), str(tmp_path / f"a.{suffix}"))
    monkeypatch.setattr(sitk, "ReadImage", None)
    assert read_file_grid(tmp_path / f"a.{suffix}").equals(Grid.of(image))


def test_the_grid_of_a_sheared_nifti_is_sheared(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", -1.1)
    assert read_file_grid(tmp_path / "a.nii.gz").is_sheared()


def test_the_grid_of_several_volumes_is_that_of_one(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", 0, VALUES_XYZ[..., None])
    assert read_file_grid(tmp_path / "a.nii.gz").size_xyz == (7, 6, 5)


@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 5, 2)])
def test_a_sheared_nifti_that_is_no_volume_is_refused(tmp_path, shape):
    write_nifti(tmp_path / "a.nii.gz", 1.0, np.zeros(shape, np.int16))
    with pytest.raises(CaseError, match="not a 3-D volume"):
        read_file(tmp_path / "a.nii.gz")
