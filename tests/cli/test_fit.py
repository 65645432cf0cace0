"""Each verb on one scan or mask refuses, in one line, what its model does not know, and writes nothing."""

from functools import partial

import numpy as np
import pytest
import torch

from meddiff.anatomy.appearance import KnownScans
from meddiff.cli import denoise, detect, lesion, superres, synthesize
from meddiff.config import DiffusionConfig, Organ, Region, WindowsConfig
from meddiff.errors import UserError
from meddiff.model.control_bundle import save_control
from meddiff.model.controlnet import ControlNet
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.volumes.volumes import from_zyx, write_image
from tests.training import SMALL

TRAINING = {"steps": 1, "samples_per_step": 1, "epochs": 1.0, "seed": 0, "run": "r", "anatomy_weights": "demo"}
TRAINING |= {"validation": {}, "regions_per_dataset": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chest at 3 mm, its anatomy, and a model of abdomens with its ControlNets."""
    folder = tmp_path_factory.mktemp("fit")
    torch.manual_seed(0)
    scans = {Region.ABDOMEN: KnownScans(1, {}, None)}
    unet = UNet(SMALL)
    model = FoundationModel(unet, DiffusionConfig(), "tiny", 3.0, WindowsConfig(), scans=scans)
    model.save(folder / "model", TRAINING)
    for name, facts in {"lesions": {}, "thin": {"factor": 2}}.items():
        save_control(ControlNet.from_unet(unet), folder / "model", name, TRAINING | facts, folder / name)
    labels = np.full((16, 24, 24), 118, np.uint8)
    labels[2:14, 8:16, 8:16] = 10
    for name, array in {"anatomy": labels, "ct": np.where(labels == 10, -800, 40).astype(np.int16)}.items():
        write_image(from_zyx(array, 3.0), folder / f"{name}.nii.gz")
        thick = from_zyx(array[::2], 3.0)
        thick.SetSpacing((3.0, 3.0, 6.0))
        write_image(thick, folder / f"thick-{name}.nii.gz")
    return folder


@pytest.mark.parametrize("verb", ["denoise", "detect", "superres", "synthesize", "lesion generate", "lesion inpaint"])
def test_a_region_that_the_model_does_not_know_is_refused(folder, tmp_path, verb):
    ct, anatomy, out = folder / "ct.nii.gz", folder / "anatomy.nii.gz", tmp_path / "out.nii.gz"
    model, chest = {"model": str(folder / "model")}, {"region": Region.CHEST}
    drawn = {"control": folder / "lesions", "organ": Organ.LUNG, "anatomy": anatomy} | chest
    thick = {"scan": folder / "thick-ct.nii.gz", "anatomy": folder / "thick-anatomy.nii.gz", "control": folder / "thin"}
    run = {
        "denoise": partial(denoise.denoise, ct, anatomy=anatomy, method="one-step", **chest),
        "detect": partial(detect.detect, ct, anatomy=anatomy, organ=Organ.LUNG),
        "superres": partial(superres.superres, **thick, **chest),
        "synthesize": partial(synthesize.synthesize, anatomy, **chest),
        "lesion generate": partial(lesion.generate, **drawn),
        "lesion inpaint": partial(lesion.inpaint, ct, **drawn),
    }[verb]
    with pytest.raises(UserError, match="no chest was in the model's training, which knows abdomen; --anyway goes on"):
        run(out=out, **model)
    assert not out.exists()
