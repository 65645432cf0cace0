"""A bundle of MONAI: MONAI's own runner and parser read it, and give the voxels that `MedDiffFM` gives."""

import json
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from meddiff import MedDiffFM
from meddiff.config import DiffusionConfig, WindowsConfig
from meddiff.errors import UserError
from meddiff.model.foundation import FoundationModel
from meddiff.model.monai_bundle import TASKS, export_monai
from meddiff.model.unet import UNet
from meddiff.volumes.volumes import from_zyx, write_image
from tests.training import SMALL

FACTS = {"steps": 1, "samples_per_step": 1, "epochs": 1.0, "seed": 0, "run": "r", "anatomy_weights": "demo"}
SPACING_MM = 6.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of one step, its bundle for MONAI, and an anatomy."""
    folder = tmp_path_factory.mktemp("monai")
    torch.manual_seed(0)
    model = FoundationModel(UNet(SMALL), DiffusionConfig(), "tiny", SPACING_MM, WindowsConfig(), steps=1)
    model.save(folder / "model", FACTS | {"validation": {}, "regions_per_dataset": {}})
    export_monai(str(folder / "model"), folder / "bundle")
    labels = np.zeros((16, 32, 32), np.uint8)
    labels[:, 4:-4, 4:-4] = 118
    labels[:, 10:20, 8:16] = 10
    write_image(from_zyx(labels, SPACING_MM), folder / "anatomy.nii.gz")
    return folder


def test_monais_runner_draws_the_same_ct(folder):
    with warnings.catch_warnings(action="ignore"):  # MONAI warns of bundles by strangers
        workflow = ConfigWorkflow(
            config_file=str(folder / "bundle" / "configs" / "inference.json"),
            meta_file=str(folder / "bundle" / "configs" / "metadata.json"),
            logging_file=False,
            bundle_root=str(folder / "bundle"),
            device="cpu",
            anatomy=str(folder / "anatomy.nii.gz"),
            output=str(folder / "ct.nii.gz"),
        )
        workflow.initialize()
        workflow.run()
    drawn = sitk.ReadImage(str(folder / "ct.nii.gz"))
    own = MedDiffFM.from_pretrained(folder / "model", device="cpu").synthesize(folder / "anatomy.nii.gz", "chest")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(drawn), sitk.GetArrayFromImage(own))
    assert drawn.GetSpacing() == own.GetSpacing()


@pytest.mark.parametrize("task", TASKS)
def test_every_configuration_names_what_it_needs_and_calls_a_task_of_the_model(folder, task, monkeypatch):
    parser = ConfigParser()
    with warnings.catch_warnings(action="ignore"):
        parser.read_config(str(folder / "bundle" / "configs" / f"{task}.json"))
        asked = []
        method = {"inference": "synthesize"}.get(task, task)
        monkeypatch.setattr(MedDiffFM, method, lambda _, *given, **more: asked.append((given, more)))
        parser["bundle_root"] = str(folder / "bundle")
        parser.get_parsed_content("result")
    ((given, more),) = asked
    names = (
        ("anatomy", "region") if task == "inference" else ("ct", "organ" if task == "detect" else "region", "anatomy")
    )
    assert given == tuple(TASKS[task][name] for name in names)
    assert more == {"seed": 0}


def test_the_metadata_says_what_must_be_installed(folder):
    metadata = json.loads((folder / "bundle" / "configs" / "metadata.json").read_text())
    assert "meddiff-fm" in metadata["required_packages_version"]
    assert metadata["name"] == "tiny"


def test_a_bundle_replaces_nothing(folder):
    with pytest.raises(UserError, match="is there already"):
        export_monai(str(folder / "model"), folder / "bundle")
