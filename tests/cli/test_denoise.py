"""`meddiff denoise`: which noise the method is told."""

import numpy as np
import pytest
import torch

from meddiff.cli.denoise import denoise
from meddiff.config import DiffusionConfig, Region, WindowsConfig
from meddiff.model.foundation import MedDiffFM
from meddiff.model.unet import UNet
from meddiff.volumes.volumes import from_zyx, write_image
from tests.training import SMALL

NOISE_HU = 12.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a chest of flat tissue and lungs with noise, with its anatomy."""
    folder = tmp_path_factory.mktemp("denoise")
    torch.manual_seed(0)
    training = {"steps": 1, "samples_per_step": 1, "epochs": 1.0, "seed": 0, "run": "r", "anatomy_weights": "demo"}
    MedDiffFM(UNet(SMALL), DiffusionConfig(), "tiny", 3.0, WindowsConfig()).save(
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

    def remember(_sampler, hu_zyx, _anatomy, _region, _window, _config, noise_hu, _seed):
        told.append(noise_hu)
        return hu_zyx

    monkeypatch.setattr("meddiff.tasks.denoising.denoise", remember)
    files = {"scan": folder / "ct.nii.gz", "out": tmp_path / "out.nii.gz", "anatomy": folder / "anatomy.nii.gz"}
    denoise(**files, region=region, noise_hu=given, model=str(folder / "model"))
    assert told == [pytest.approx(given or NOISE_HU, rel=0.06)]
