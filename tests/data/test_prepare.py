"""Preparation: what memory a case needs is known from its header."""

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.data.prepare import resampling_bytes, volume_header


def written(path, pixel_type, spacing):
    image = sitk.GetImageFromArray(np.zeros((20, 30, 40), np.int16))
    image.SetSpacing(spacing)
    sitk.WriteImage(sitk.Cast(image, pixel_type), str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_reading_counts_where_voxels_become_larger_and_the_result_where_they_become_smaller(tmp_path, suffix):
    voxels = 20 * 30 * 40
    fine = written(tmp_path / f"fine{suffix}", sitk.sitkInt16, (0.5, 0.5, 0.5))
    assert resampling_bytes(fine, 1.0) == 7 * voxels
    floats = written(tmp_path / f"floats{suffix}", sitk.sitkFloat64, (0.5, 0.5, 0.5))
    assert resampling_bytes(floats, 1.0) == 19 * voxels
    coarse = written(tmp_path / f"coarse{suffix}", sitk.sitkInt16, (2.0, 2.0, 5.0))
    assert resampling_bytes(coarse, 1.0) == pytest.approx(2 * voxels + 6 * 20 * voxels)


def test_a_series_of_slices_counts_all_its_files(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((30, 40), np.int16))
    for number in range(7):
        sitk.WriteImage(image, str(tmp_path / f"{number}.nrrd"))
    header = volume_header(tmp_path)
    assert header is not None
    assert header[:2] == (7 * 30 * 40, 2)


def test_what_cannot_be_read_needs_no_memory_and_is_refused_later(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    assert resampling_bytes(tmp_path / "broken.nii.gz", 1.0) == 0
    assert resampling_bytes(tmp_path / "absent.nii.gz", 1.0) == 0
    (tmp_path / "empty").mkdir()
    assert resampling_bytes(tmp_path / "empty", 1.0) == 0
