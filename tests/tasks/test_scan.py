"""A user's scan: prepared at the model's spacing, and back on its own grid with only what was changed."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch

from meddiff.config import Config, DiffusionConfig, Region, WindowsConfig
from meddiff.errors import CaseError
from meddiff.model.foundation import MedDiffFM
from meddiff.model.unet import UNet
from meddiff.tasks.scan import read_scan
from meddiff.volumes.dicom.derived import write_derived_series
from meddiff.volumes.volumes import from_zyx, read_ct, to_zyx
from tests.training import SMALL
from tests.volumes.test_volumes import write_dicom_series

MODEL = MedDiffFM(UNet(SMALL), DiffusionConfig(), "tiny", 6.0, WindowsConfig())


@pytest.fixture(scope="module")
def files(body, labels_zyx, tmp_path_factory):
    """A scan of 6 mm and its mask, and both stored the other way round."""
    folder = tmp_path_factory.mktemp("scan")
    for name, array in {"ct": body.ct_zyx, "mask": labels_zyx}.items():
        image = from_zyx(array[48:100], 6.0, (-200.0, -150.0, 290.0))
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
        sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(folder / f"{name}-ras.nii.gz"))
    return folder


@pytest.mark.parametrize("kind", ["", "-ras"])
def test_a_scan_and_its_mask_are_cut_to_the_region(files, body, labels_zyx, kind):
    scan = read_scan(files / f"ct{kind}.nii.gz", Region.CHEST, files / f"mask{kind}.nii.gz", MODEL, Config())
    assert scan.hu_zyx.shape == scan.anatomy_zyx.shape
    assert scan.window == WindowsConfig().chest
    assert (scan.anatomy_zyx > 0).sum() == (labels_zyx[48:100] > 0).sum()
    assert np.corrcoef(scan.hu_zyx.ravel(), (scan.anatomy_zyx > 0).ravel())[0, 1] > 0.8


def test_only_what_was_changed_changes(files):
    scan = read_scan(files / "ct.nii.gz", Region.CHEST, files / "mask.nii.gz", MODEL, Config())
    changed = scan.hu_zyx.copy()
    changed[5:9, 10:20, 10:20] += 100
    before, after = to_zyx(scan.source).astype(int), to_zyx(scan.with_changes(changed)).astype(int)
    assert set(np.unique(after - before)) == {0, 100}
    assert (after != before).sum() == 4 * 10 * 10


def test_a_finer_scan_keeps_its_detail(files):
    coarse = read_ct(files / "ct.nii.gz")
    fine = sitk.Expand(coarse, (2, 2, 2), sitk.sitkLinear)
    noise = np.random.default_rng(0).normal(0, 30, fine.GetSize()[::-1])
    sitk.WriteImage(sitk.Cast(fine + sitk_like(noise, fine), sitk.sitkInt16), str(files / "fine.nii.gz"))
    mask = sitk.Resample(
        sitk.ReadImage(str(files / "mask.nii.gz")), fine, sitk.Transform(), sitk.sitkNearestNeighbor, 0
    )
    sitk.WriteImage(mask, str(files / "fine-mask.nii.gz"))
    scan = read_scan(files / "fine.nii.gz", Region.CHEST, files / "fine-mask.nii.gz", MODEL, Config())
    same = scan.with_changes(scan.hu_zyx)
    assert (to_zyx(same) == to_zyx(scan.source)).all()


def sitk_like(array, reference):
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.CopyInformation(reference)
    return image


def test_a_mask_of_another_geometry_is_refused(files):
    mask = sitk.ReadImage(str(files / "mask.nii.gz"))
    mask.SetOrigin((0, 0, 0))
    sitk.WriteImage(mask, str(files / "moved.nii.gz"))
    sitk.WriteImage(mask[:, :, 1:], str(files / "short.nii.gz"))
    for name in ("moved", "short"):
        with pytest.raises(CaseError, match=f"with the mask .*{name}.nii.gz: .*another geometry than the scan"):
            read_scan(files / "ct.nii.gz", Region.CHEST, files / f"{name}.nii.gz", MODEL, Config())


def test_a_map_lies_on_the_scans_own_grid(files):
    scan = read_scan(files / "ct.nii.gz", Region.CHEST, files / "mask.nii.gz", MODEL, Config())
    found = scan.as_map(torch.ones(scan.hu_zyx.shape).numpy())
    assert found.GetSize() == scan.source.GetSize()
    assert to_zyx(found).sum() == pytest.approx(scan.hu_zyx.size, rel=0.01)


def test_a_dicom_series_becomes_a_derived_one(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, (5, 16, 18)).astype(np.int16)
    write_dicom_series(tmp_path / "in", hu)
    source = read_ct(tmp_path / "in")
    write_derived_series(source + 7, tmp_path / "in", tmp_path / "out", "denoised with tiny")
    assert (to_zyx(read_ct(tmp_path / "out")) == np.clip(hu, -1024, None) + 7).all()
    before, after = (
        {float(t.ImagePositionPatient[2]): t for t in map(pydicom.dcmread, sorted((tmp_path / name).iterdir()))}
        for name in ("in", "out")
    )
    assert before.keys() == after.keys()
    for place, old in before.items():
        new = after[place]
        assert new.ImageType[0] == "DERIVED"
        assert new.SeriesDescription == new.DerivationDescription == "denoised with tiny"
        for name in ("PatientID", "PatientName", "StudyInstanceUID", "PixelSpacing"):
            assert new[name] == old[name]
        for name in ("SeriesInstanceUID", "SOPInstanceUID"):
            assert new[name].value != old[name].value
    assert len({t.SeriesInstanceUID for t in after.values()}) == 1
    assert len({t.SOPInstanceUID for t in after.values()}) == 5
