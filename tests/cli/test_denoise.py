"""`meddiff denoise`: which noise a method is told, what comes out, and what is refused."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from meddiff.cli.denoise import denoise
from meddiff.config import DiffusionConfig, Region, WindowsConfig
from meddiff.errors import UserError
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.volumes.volumes import from_zyx, read_image, to_zyx, write_image
from tests.training import SMALL

NOISE_HU = 12.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a chest of flat tissue and lungs with noise, with its anatomy."""
    folder = tmp_path_factory.mktemp("denoise")
    torch.manual_seed(0)
    training = {"steps": 1, "samples_per_step": 1, "epochs": 1.0, "seed": 0, "run": "r", "anatomy_weights": "demo"}
    FoundationModel(UNet(SMALL), DiffusionConfig(), "tiny", 3.0, WindowsConfig()).save(
        folder / "model", training | {"validation": {}, "regions_per_dataset": {}}
    )
    labels = np.zeros((24, 50, 60), np.uint8)
    labels[:, 8:-8, 8:-8] = 118
    labels[:, 20:30, 15:25] = 10
    hu = np.select([labels == 10, labels > 0], [-850.0, 45.0], -1000.0)
    hu += NOISE_HU * np.random.default_rng(0).normal(size=hu.shape)
    write_image(from_zyx(hu.round().astype(np.int16), 3.0), folder / "ct.nii.gz")
    write_image(from_zyx(labels, 3.0), folder / "anatomy.nii.gz")
    return folder


@pytest.mark.parametrize("region", [Region.CHEST, Region.ABDOMEN])
@pytest.mark.parametrize("given", [None, 31.0])
def test_the_noise_is_that_of_the_scan_in_hu_whatever_the_region(folder, tmp_path, monkeypatch, region, given):
    told = []

    def remember(_sampler, view, _config, noise_hu, _seed):
        told.append(noise_hu)
        return view.hu_zyx

    monkeypatch.setattr("meddiff.tasks.denoising.denoise", remember)
    files = {"scan": folder / "ct.nii.gz", "out": tmp_path / "out.nii.gz", "anatomy": folder / "anatomy.nii.gz"}
    denoise(**files, region=region, method="one-step", noise_hu=given, model=str(folder / "model"), anyway=True)
    assert told == [pytest.approx(given or NOISE_HU, rel=0.06)]


def run(folder, out, **options):
    files = {"scan": folder / "ct.nii.gz", "out": out, "anatomy": folder / "anatomy.nii.gz"}
    denoise(**files, region=Region.CHEST, model=str(folder / "model"), **options)
    return read_image(out)


def test_by_default_the_noise_goes_and_the_tissue_stays_whatever_the_model_draws(folder, tmp_path):
    """The model has learned nothing."""
    before, after = read_image(folder / "ct.nii.gz"), run(folder, tmp_path / "out.nii.gz")
    inner = np.s_[4:-4, 34:40, 12:48]
    assert to_zyx(after)[inner].std() < 0.6 * to_zyx(before)[inner].std()
    assert to_zyx(after)[inner].mean() == pytest.approx(to_zyx(before)[inner].mean(), abs=0.5)
    np.testing.assert_array_equal(after.GetOrigin(), before.GetOrigin())


@pytest.mark.parametrize("order", ["RIP", "PSL"])
def test_a_file_of_another_order_has_the_same_result(folder, tmp_path, order):
    for name in ("ct", "anatomy"):
        write_image(sitk.DICOMOrient(read_image(folder / f"{name}.nii.gz"), order), tmp_path / f"{name}.nii.gz")
    (tmp_path / "model").symlink_to(folder / "model")
    other = sitk.DICOMOrient(run(tmp_path, tmp_path / "out.nii.gz"), "LPS")
    here = run(folder, tmp_path / "here.nii.gz")
    assert np.abs(to_zyx(other).astype(int) - to_zyx(here)).mean() < 2  # blocks begin elsewhere


def test_a_result_that_is_worse_than_the_scan_is_refused_unless_it_is_wanted(folder, tmp_path, monkeypatch):
    """One that shows the lungs as they are not."""
    monkeypatch.setattr("meddiff.tasks.denoising.denoise", lambda _, view, *__: np.maximum(view.hu_zyx, -700))
    with pytest.raises(UserError, match=r"differs from the scan by \d+ HU where its noise is 12 HU.*--anyway"):
        run(folder, tmp_path / "out.nii.gz", method="one-step")
    assert not (tmp_path / "out.nii.gz").exists()
    assert to_zyx(run(folder, tmp_path / "out.nii.gz", method="one-step", anyway=True)).shape == (24, 50, 60)
