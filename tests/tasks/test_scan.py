"""A user's scan: prepared at the model's spacing, and back on its own grid with only what was changed."""

import contextlib

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch

from meddiff.anatomy.labels import LUNG, ids
from meddiff.anatomy.numbering import MaskFile
from meddiff.config import Config, DiffusionConfig, Region, WindowsConfig
from meddiff.derived.series import Content, write_derived_series
from meddiff.errors import CaseError
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.tasks import scan as scan_module
from meddiff.tasks.scan import label_scan, read_scan
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import from_zyx, like, read_ct, read_image, to_zyx, write_image
from tests.training import SMALL
from tests.volumes.test_volumes import write_dicom_series

MODEL = FoundationModel(UNet(SMALL), DiffusionConfig(), "tiny", 6.0, WindowsConfig())


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
    scan = read_scan(files / f"ct{kind}.nii.gz", Region.CHEST, MaskFile(files / f"mask{kind}.nii.gz"), MODEL, Config())
    assert scan.hu_zyx.shape == scan.anatomy_zyx.shape
    assert scan.window == WindowsConfig().chest
    assert (scan.anatomy_zyx > 0).sum() == (labels_zyx[48:100] > 0).sum()
    assert np.corrcoef(scan.hu_zyx.ravel(), (scan.anatomy_zyx > 0).ravel())[0, 1] > 0.8


def test_only_what_was_changed_changes(files):
    scan = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "mask.nii.gz"), MODEL, Config())
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
    scan = read_scan(files / "fine.nii.gz", Region.CHEST, MaskFile(files / "fine-mask.nii.gz"), MODEL, Config())
    same = scan.with_changes(scan.hu_zyx)
    assert (to_zyx(same) == to_zyx(scan.source)).all()


def sitk_like(array, reference):
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.CopyInformation(reference)
    return image


def test_a_mask_that_does_not_lie_in_the_body_of_its_scan_is_refused(files):
    mask = sitk.ReadImage(str(files / "mask.nii.gz"))
    for name, origin_mm in {"far": (0, 0, 0), "beside": (-100.0, -150.0, 290.0)}.items():
        mask.SetOrigin(origin_mm)
        sitk.WriteImage(mask, str(files / f"{name}.nii.gz"))
        with pytest.raises(CaseError, match=rf"with the mask .*{name}.nii.gz: \d+% of its structures lie in the body"):
            read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / f"{name}.nii.gz"), MODEL, Config())


def test_a_mask_may_have_other_voxels_than_its_scan(files, caplog):
    mask = sitk.ReadImage(str(files / "mask.nii.gz"))
    finer = sitk.DICOMOrient(sitk.Expand(mask, (2, 2, 1), sitk.sitkNearestNeighbor), "RSP")
    sitk.WriteImage(finer, str(files / "finer.nrrd"))
    given = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "mask.nii.gz"), MODEL, Config())
    with caplog.at_level("INFO"):
        found = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "finer.nrrd"), MODEL, Config())
    np.testing.assert_array_equal(found.anatomy_zyx, given.anatomy_zyx)
    assert "the mask has other voxels than the scan" in caplog.text


def test_where_a_mask_ends_before_its_scan_the_body_goes_on(files):
    given = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "mask.nii.gz"), MODEL, Config())
    mask = sitk.ReadImage(str(files / "mask.nii.gz"))
    sitk.WriteImage(mask[12:, :, :], str(files / "part.nii.gz"))
    found = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "part.nii.gz"), MODEL, Config())
    assert found.anatomy_zyx.shape == given.anatomy_zyx.shape
    assert ((found.anatomy_zyx > 0) == (given.anatomy_zyx > 0)).mean() > 0.999
    changed = found.anatomy_zyx != given.anatomy_zyx
    assert changed.any()
    assert np.argwhere(changed)[:, 2].max() < 12


@pytest.fixture(scope="module")
def tilted(files):
    """The same scan and mask as a gantry tilted by 9 degrees has them, and with axes that are nearly perpendicular."""
    for kind, shear in {"tilted": 0.16, "nearly": 0.0008}.items():
        for name in ("ct", "mask"):
            image = sitk.ReadImage(str(files / f"{name}-ras.nii.gz"))
            grid = Grid.of(image)
            axes_mm = grid.axes_mm + np.outer(grid.axes_mm[:, 1], (0, 0, shear))
            sheared = Grid(grid.size_xyz, grid.origin_mm, axes_mm).put_on(sitk.Image(image.GetSize(), sitk.sitkInt16))
            nearest, air = (sitk.sitkNearestNeighbor, 0) if name == "mask" else (sitk.sitkLinear, -1024)
            write_image(sitk.Resample(image, sheared, sitk.Transform(), nearest, air), files / f"{name}-{kind}.nii.gz")
    return files


@pytest.mark.parametrize("kind", ["", "-ras", "-tilted", "-nearly"])
def test_what_comes_out_has_the_voxels_of_the_scans_file(tilted, tmp_path, kind):
    path = tilted / f"ct{kind}.nii.gz"
    scan = read_scan(path, Region.CHEST, MaskFile(tilted / f"mask{kind}.nii.gz"), MODEL, Config())
    ones = torch.ones(scan.hu_zyx.shape).numpy()
    before, results = read_image(path), (scan.with_changes(scan.hu_zyx), scan.as_map(ones), scan.as_mask(ones))
    for number, result in enumerate(results):
        write_image(result, tmp_path / f"{number}.nii.gz")
        file = nibabel.load(tmp_path / f"{number}.nii.gz")
        np.testing.assert_allclose(file.affine, nibabel.load(path).affine, atol=1e-4)
        assert file.shape == before.GetSize()
    np.testing.assert_array_equal(to_zyx(results[0]), np.clip(to_zyx(before), -1024, None))
    for result in results[1:]:  # the box of the region, cut at a right angle, reaches beyond tilted slices
        assert to_zyx(result).sum() == pytest.approx(scan.hu_zyx.size, rel=0.1 if kind == "-tilted" else 0.01)


@pytest.mark.parametrize("kind", ["", "-ras", "-tilted", "-nearly"])
def test_a_change_comes_back_to_its_place(tilted, kind):
    scan = read_scan(
        tilted / f"ct{kind}.nii.gz", Region.CHEST, MaskFile(tilted / f"mask{kind}.nii.gz"), MODEL, Config()
    )
    bright = scan.hu_zyx.copy()
    bright[20:26, 15:21, 22:28] += 1000
    before, after = sitk.Cast(scan.own(to_zyx(scan.source)), sitk.sitkFloat32), scan.with_changes(bright)
    change = to_zyx(sitk.Cast(after, sitk.sitkFloat32) - before)
    middle_mm = scan.grid.TransformContinuousIndexToPhysicalPoint((24.5, 17.5, 22.5))
    centre = Grid.of(after).index_of(np.array([middle_mm]))[0]
    found = np.argwhere(change > 500).mean(0)[::-1]
    np.testing.assert_allclose(found, centre, atol=0.5)


def test_the_body_is_added_to_a_mask_of_totalsegmentator(files, caplog):
    mask = sitk.ReadImage(str(files / "mask.nii.gz"))
    sitk.WriteImage(mask * sitk.Cast(mask != 118, sitk.sitkUInt8), str(files / "no-body.nii.gz"))
    given = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "mask.nii.gz"), MODEL, Config())
    with caplog.at_level("INFO"):
        made = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "no-body.nii.gz"), MODEL, Config())
    assert "the mask has no label 118, the rest of the body" in caplog.text
    assert given.anatomy_zyx.shape == made.anatomy_zyx.shape
    rest = given.anatomy_zyx == 118
    assert (made.anatomy_zyx[rest] == 118).mean() > 0.98
    organs = ~rest & (given.anatomy_zyx > 0)
    np.testing.assert_array_equal(made.anatomy_zyx[organs], given.anatomy_zyx[organs])


def test_of_a_mask_with_a_few_structures_totalsegmentator_labels_the_rest(files, monkeypatch, caplog):
    whole = read_image(files / "mask.nii.gz")
    few_zyx = to_zyx(whole) * np.isin(to_zyx(whole), ids(*LUNG))
    few_zyx[:, :20] = 0  # and less of them than TotalSegmentator finds
    write_image(like(few_zyx, whole), files / "lungs.nii.gz")
    made = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "mask.nii.gz"), MODEL, Config()).anatomy_zyx

    class Tool(contextlib.nullcontext):
        def segment(self, ct):
            return to_zyx(sitk.Resample(whole * sitk.Cast(whole != 118, 1), ct, sitk.Transform(), 1, 0))

    monkeypatch.setattr(scan_module, "Segmenter", lambda *_: Tool(Tool()))
    with caplog.at_level("INFO"):
        scan = read_scan(files / "ct.nii.gz", Region.CHEST, MaskFile(files / "lungs.nii.gz"), MODEL, Config())
    assert "a few structures and no label 118: TotalSegmentator labels the rest" in caplog.text
    given = to_zyx(sitk.Resample(read_image(files / "lungs.nii.gz"), scan.grid, sitk.Transform(), 1, 0))
    lungs = np.isin(scan.anatomy_zyx, ids(*LUNG))
    np.testing.assert_array_equal(lungs, given > 0)
    cut = np.isin(made, ids(*LUNG)) & ~lungs
    assert cut.any()
    assert set(scan.anatomy_zyx[cut]) == {118}
    assert (scan.anatomy_zyx == made)[~cut].mean() > 0.98


def test_the_labels_of_a_scan_lie_on_its_own_voxels(tilted):
    for kind in ("", "-ras", "-tilted"):
        labels = label_scan(
            tilted / f"ct{kind}.nii.gz", MaskFile(tilted / f"mask{kind}.nii.gz"), Config(data={"spacing_mm": 6.0})
        )
        given = read_image(tilted / f"mask{kind}.nii.gz")
        assert Grid.of(labels).equals(Grid.of(given))
        assert (to_zyx(labels) == to_zyx(given)).mean() > (0.95 if kind == "-tilted" else 0.9999)


def test_a_dicom_series_becomes_a_derived_one(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, (5, 16, 18)).astype(np.int16)
    write_dicom_series(tmp_path / "in", hu)
    source = read_ct(tmp_path / "in")
    write_derived_series(source + 7, tmp_path / "in", tmp_path / "out", Content("denoised with tiny"))
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
