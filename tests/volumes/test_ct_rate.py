"""Headers from a publisher's table, and labels on their scan's own grid."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.config import Config, Region
from meddiff.datasets.index import Case
from meddiff.errors import CaseError
from meddiff.machine.shards import read_index
from meddiff.stages.resample import resample
from meddiff.volumes import volumes
from meddiff.volumes.ct_rate import Header, labels_on_scan, read_headers, read_scan, with_header
from meddiff.volumes.lesion_labels import read_lesion
from tests.volumes.test_volumes import write_dicom_series

WIDE = Header(1.0, -1024.0, (2.0, 2.0, 2.0), (5.0, 6.0, 7.0), (1, 0, 0, 0, 1, 0))
HEADER = Header(1.0, -1024.0, (0.75, 0.5, 1.5), (-180.0, -190.0, -300.0), (1, 0, 0, 0, 1, 0))
COLUMNS = "VolumeName,RescaleIntercept,RescaleSlope,XYSpacing,ZSpacing,ImageOrientationPatient,ImagePositionPatient"


def stored_values(path):
    """A volume as CT-RATE ships it: stored values from 0, no geometry."""
    values_zyx = np.random.default_rng(0).integers(0, 2500, (6, 8, 10)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values_zyx), str(path))
    return values_zyx


def test_stored_values_become_hu_on_the_grid_of_the_table(tmp_path):
    values_zyx = stored_values(tmp_path / "ct.nii.gz")
    ct = read_scan(tmp_path / "ct.nii.gz", HEADER.as_text())
    assert ct.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(volumes.to_zyx(ct), values_zyx - 1024)
    np.testing.assert_allclose(ct.GetSpacing(), HEADER.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(ct.GetOrigin(), HEADER.origin_mm, rtol=1e-6)


def test_without_the_table_such_a_volume_is_no_ct(tmp_path):
    stored_values(tmp_path / "ct.nii.gz")
    with pytest.raises(CaseError, match="cannot be CT"):
        read_scan(tmp_path / "ct.nii.gz", "")


def test_a_slope_is_applied_before_the_intercept():
    image = sitk.GetImageFromArray(np.array([[[0, 10]], [[20, 30]]], np.int16))
    hu = with_header(image, Header(2.0, -1000.0, (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0)))
    assert volumes.to_zyx(hu).ravel().tolist() == [-1000, -980, -960, -940]


def test_a_slope_that_gives_fractions_is_rounded_and_metal_keeps_to_the_limit():
    image = sitk.GetImageFromArray(np.array([[[3, 5]], [[-3, 32000]]], np.int16))
    hu = with_header(image, Header(1.5, 0.2, (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0)))
    assert volumes.to_zyx(hu).ravel().tolist() == [5, 8, -4, 32767]


def test_voxels_of_a_scan_with_feet_first_columns_lie_where_dicom_puts_them():
    """DICOM: position + column index * spacing * row cosine + row index * spacing * column cosine."""
    orientation = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    placed = with_header(image, Header(1, 0, (0.5, 0.75, 2.0), (10, 20, 30), orientation))
    assert placed.TransformIndexToPhysicalPoint((3, 0, 0)) == (10, 20 + 3 * 0.5, 30)
    assert placed.TransformIndexToPhysicalPoint((0, 2, 0)) == (10, 20, 30 - 2 * 0.75)


def test_a_header_survives_the_manifest():
    assert Header.from_text(HEADER.as_text()) == HEADER


def test_incomplete_rows_of_a_table_are_left_out(tmp_path):
    good = 'a.nii.gz,-1024,1,"[0.7, 0.7]",1.0,"[1, 0, 0, 0, 1, 0]","[0, 0, 0]"'
    bad = ['b.nii.gz,-1024,1,,1.0,"[1, 0, 0, 0, 1, 0]","[0, 0, 0]"', 'c.nii.gz,,1,"[1, 1]",1,"[1, 0]","[0, 0, 0]"']
    (tmp_path / "m.csv").write_text("\n".join([COLUMNS, good, *bad]))
    assert set(read_headers([tmp_path / "m.csv"])) == {"a.nii.gz"}


@pytest.mark.parametrize("axes", [(-1, -1, 1), (1, 1, 1)], ids=["its header says so", "its header says otherwise"])
def test_masks_of_lymph_nodes_meet_their_dicom_series_voxel_for_voxel(tmp_path, axes):
    """The published masks are the DICOM slices' own order, nodes numbered from 1 (checked against their DICOM SEG)."""
    series = tmp_path / "series"
    write_dicom_series(series, np.random.default_rng(0).integers(-900, 900, (5, 8, 9)).astype(np.int16))
    scan = volumes.read_ct(series)
    nodes_zyx = np.zeros(volumes.to_zyx(scan).shape, np.uint8)
    nodes_zyx[1, 2, 3], nodes_zyx[2, 4, 1] = 1, 7
    affine = np.diag([*np.array(axes) * scan.GetSpacing(), 1.0])
    nibabel.save(nibabel.Nifti1Image(nodes_zyx.transpose(2, 1, 0), affine), tmp_path / "mask.nii.gz")  # type: ignore[attr-defined]
    lesion_zyx = read_lesion(tmp_path / "mask.nii.gz", (), series, scan, on_scan_grid=True)
    np.testing.assert_array_equal(lesion_zyx, nodes_zyx > 0)


def test_a_mask_of_another_size_is_quarantined(tmp_path):
    scan = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    volumes.write_image(sitk.GetImageFromArray(np.zeros((4, 5, 7), np.uint8)), tmp_path / "mask.nii.gz")
    with pytest.raises(CaseError, match="label of 7x5x4 voxels on a scan of 6x5x4"):
        labels_on_scan(tmp_path / "mask.nii.gz", scan)


@pytest.fixture
def stored(tmp_path):
    """A volume that is 100 mm wide by its table."""
    values_zyx = np.random.default_rng(0).integers(0, 2000, (50, 50, 50)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values_zyx), str(tmp_path / "ct.nii.gz"))
    return tmp_path / "ct.nii.gz"


def resample_one(tmp_path, image, **facts):
    case = Case("ct-rate", "train-1-a-1", image, Region.CHEST, "pretraining", "train", 0, **facts)
    resample([case], Config(), tmp_path / "out" / "index.tsv")
    (row,) = read_index(tmp_path / "out" / "index.tsv")
    return row


def test_a_header_from_the_publishers_table_is_used(tmp_path, stored):
    row = resample_one(tmp_path, stored, header=WIDE.as_text())
    assert row.status == "done", row.reason
    result = volumes.read_image(row.path)
    assert volumes.to_zyx(result).min() < -900
    np.testing.assert_allclose(np.array(result.GetSize()) * result.GetSpacing(), 100, atol=2)


def test_without_it_the_volume_is_quarantined_and_with_it_made_anew(tmp_path, stored):
    assert resample_one(tmp_path, stored).status == "quarantined"
    assert resample_one(tmp_path, stored, header=WIDE.as_text()).status == "done"


def test_a_duplicate_is_quarantined_with_the_name_of_the_other_scan_also_after_it_was_done(tmp_path, stored):
    assert resample_one(tmp_path, stored, header=WIDE.as_text()).status == "done"
    row = resample_one(tmp_path, stored, header=WIDE.as_text(), quarantine="the same scan as msd-lung_lung-001")
    assert (row.status, row.reason) == ("quarantined", "the same scan as msd-lung_lung-001")
