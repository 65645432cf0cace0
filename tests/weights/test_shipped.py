"""The models that really come with the package: whole, of one set, small, and of config/small.yaml."""

from pathlib import Path

import numpy as np
import pytest

from meddiff import MedDiffFM, Voxels
from meddiff.anatomy.labels import BODY, CLASS_IDS
from meddiff.config import Region, load_config
from meddiff.datasets import REGISTRY
from meddiff.machine.files import sha256
from meddiff.model.control_bundle import read_control_config
from meddiff.model.foundation import WEIGHTS, FoundationModel
from meddiff.model.packing import LARGEST_MB
from meddiff.weights import FOLDER, shipped_bundle, shipped_names

ROOT = Path(__file__).parents[2]
MODELS, CONTROLS = ["ddpm", "meddiff-fm"], ["lesions", "super-resolution"]


def test_all_models_come_with_the_package_and_are_small():
    assert shipped_names() == sorted(MODELS + CONTROLS)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < LARGEST_MB * 1e6


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_net_belongs_to_the_model_beside_it(name):
    assert read_control_config(shipped_bundle(name)).foundation == sha256(shipped_bundle("meddiff-fm") / WEIGHTS)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("file", ["small.yaml", "config.yaml"])
def test_the_configurations_that_make_them_and_go_on_from_them_are_theirs(file, name):
    config, model = load_config(ROOT / "config" / file), FoundationModel.from_pretrained(shipped_bundle(name))
    assert model.network.config == config.network(name)
    assert model.diffusion == config.diffusion
    assert model.spacing_mm == config.data.spacing_mm
    assert set(model.scans) == set(Region) - {Region.WHOLE_BODY}


def test_the_demo_holds_no_scan_out_that_they_have_learnt_from():
    """Its datasets are among theirs, whose split is fixed, or hold some of the same patients, split alike."""
    demo, theirs = (load_config(ROOT / "config" / file).data.datasets for file in ("config.yaml", "small.yaml"))
    others = [dataset for dataset in demo if dataset.name not in {each.name for each in theirs}]
    assert [dataset.name for dataset in others] == ["demo-lung-lesions"]
    part, whole = (REGISTRY[name].official_split for name in ("demo-lung-lesions", "demo-lung-tumours"))
    assert part.items() <= whole.items()


@pytest.mark.parametrize("name", MODELS + CONTROLS)
def test_a_card_names_the_licence_of_every_dataset(name):
    card = (shipped_bundle(name) / "README.md").read_text()
    assert card.startswith("---\n")
    assert "| training data | regions | licence |" in card
    assert "Not for diagnosis or treatment" in card


def test_the_model_draws_a_body_that_follows_its_mask():
    """A trunk with two lungs, in HU: air in the lungs and outside, soft tissue between."""
    size = 32
    z, y, x = np.ogrid[:size, :size, :size]
    labels = np.zeros((size, size, size), np.uint8)
    labels[((y - 16) / 12) ** 2 + ((x - 16) / 15) ** 2 + 0 * z < 1] = BODY
    for name, centre in (("lung_upper_lobe_right", 9), ("lung_upper_lobe_left", 23)):
        labels[((y - 16) / 8) ** 2 + ((x - centre) / 5) ** 2 + ((z - 16) / 13) ** 2 < 1] = CLASS_IDS[name]
    model = MedDiffFM.from_pretrained(device="cpu")
    hu = model.synthesize(Voxels(labels, (4.0, 4.0, 4.0)), "chest", seed=0).values_zyx
    assert hu.shape == labels.shape
    lungs = np.isin(labels, [CLASS_IDS["lung_upper_lobe_right"], CLASS_IDS["lung_upper_lobe_left"]])
    assert -950 < np.median(hu[lungs]) < -650
    assert -150 < np.median(hu[labels == BODY]) < 100
    assert np.median(hu[labels == 0]) < -900
