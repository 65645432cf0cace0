"""The bundle of a ControlNet: what is saved is what is loaded, with the model that it was trained with and no other."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from meddiff.config import DiffusionConfig, NetworkConfig, WindowsConfig
from meddiff.errors import UserError
from meddiff.machine.files import sha256
from meddiff.model.control_bundle import load_controlled, save_control, slice_factor
from meddiff.model.controlnet import ControlledUNet, ControlNet
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from tests.model.grids import random_coordinates

SMALL = NetworkConfig(patch_vox=8, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4)
TRAINING = {
    "steps": 7,
    "samples_per_step": 4,
    "epochs": 14.0,
    "seed": 0,
    "regions_per_dataset": {"d": 2},
    "run": "r",
    "anatomy_weights": "demo",
    "validation": {"chest/patch": 0.25},
}


def save_foundation(folder, seed):
    torch.manual_seed(seed)
    network = UNet(SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    FoundationModel(network, DiffusionConfig(prediction="v"), "tiny", 4.0, WindowsConfig()).save(folder, TRAINING)
    return network.eval()


@pytest.fixture
def bundle(tmp_path):
    """A controlled network, its foundation's folder and its ControlNet's folder."""
    unet = save_foundation(tmp_path / "tiny", seed=0)
    control = ControlNet.from_unet(unet)
    for parameter in control.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_control(control, tmp_path / "tiny", "tiny, lesions", TRAINING, tmp_path / "control")
    return ControlledUNet(unet, control).eval(), tmp_path / "tiny", tmp_path / "control"


def estimate(network):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 8, 8, 8, generator=generator)
    anatomy = torch.randint(0, 119, (1, 8, 8, 8), generator=generator, dtype=torch.uint8)
    coordinates = random_coordinates(1, (8, 8, 8), generator)
    target = (x > 0).float()
    with torch.no_grad():
        condition = network.encode_condition(anatomy, coordinates, target)
        return network(x, torch.tensor([500]), torch.tensor([1]), condition)


def test_the_bundle_reads_back_as_the_same_estimate(bundle):
    network, foundation, folder = bundle
    loaded = load_controlled(folder, foundation)
    torch.testing.assert_close(estimate(loaded.network), estimate(network), atol=1e-5, rtol=1e-5)


def test_the_loaded_model_is_the_foundation_model_but_for_its_network_and_name(bundle):
    _, foundation, folder = bundle
    loaded, plain = load_controlled(folder, foundation), FoundationModel.from_pretrained(foundation)
    assert loaded.name == "tiny, lesions"
    assert (loaded.diffusion, loaded.spacing_mm, loaded.windows) == (plain.diffusion, plain.spacing_mm, plain.windows)


def test_both_networks_compute_in_the_precision_asked_for(bundle):
    _, foundation, folder = bundle
    loaded = load_controlled(folder, foundation, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.network.parameters()} == {torch.bfloat16}


def test_the_file_holds_the_weights_of_the_controlnet_alone(bundle):
    network, _, folder = bundle
    saved = load_file(folder / "control.safetensors")
    assert saved.keys() == network.control.state_dict().keys()
    assert not {name.split(".")[0] for name in saved} & {"up", "upsample", "norm_out", "conv_out", "unet"}
    assert all(torch.equal(saved[name], tensor) for name, tensor in network.control.state_dict().items())


def test_card_and_configuration_name_the_foundation_model(bundle):
    _, foundation, folder = bundle
    checksum = sha256(foundation / "model.safetensors")
    assert json.loads((folder / "config.json").read_text())["foundation"] == checksum
    card = (folder / "README.md").read_text()
    words = (checksum, "7 steps", "chest/patch 0.2500", "| d | 2 | the owner's |", "Not for diagnosis")
    assert all(each in card for each in words)


def test_another_foundation_model_is_refused_in_one_line_that_names_both(bundle, tmp_path):
    _, foundation, folder = bundle
    save_foundation(tmp_path / "other", seed=1)
    with pytest.raises(UserError) as refused:
        load_controlled(folder, tmp_path / "other")
    message = str(refused.value)
    hashes = [sha256(path / "model.safetensors")[:12] for path in (foundation, tmp_path / "other")]
    assert hashes[0] != hashes[1]
    assert all(words in message for words in (*hashes, str(folder), str(tmp_path / "other")))
    assert "\n" not in message


@pytest.mark.parametrize("name", ["control.safetensors", "config.json"])
def test_a_folder_without_a_controlnet_is_refused(bundle, name):
    _, foundation, folder = bundle
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{folder}: no ControlNet"):
        load_controlled(folder, foundation)


def test_a_folder_without_a_foundation_model_is_refused(bundle, tmp_path):
    with pytest.raises(UserError, match="no model bundle"):
        load_controlled(bundle[2], tmp_path)


def test_weights_that_do_not_fit_are_refused_by_name_and_shape(bundle):
    _, foundation, folder = bundle
    weights = load_file(folder / "control.safetensors")
    weights["zero_middle.weight"] = torch.zeros(8, 8, 1, 1, 1)
    save_file(weights, folder / "control.safetensors")
    with pytest.raises(UserError, match=r"zero_middle.weight is \(8, 8, 1, 1, 1\).*needs \(16, 16, 1, 1, 1\)"):
        load_controlled(folder, foundation)
    del weights["zero_middle.weight"]
    save_file(weights, folder / "control.safetensors")
    with pytest.raises(UserError, match=r"control.safetensors: zero_middle.weight is missing"):
        load_controlled(folder, foundation)


def test_a_bundle_says_which_slices_it_was_trained_for(bundle, tmp_path):
    network, foundation, of_lesions = bundle
    assert slice_factor(of_lesions) is None
    save_control(network.control, foundation, "tiny, slices", TRAINING | {"factor": 4}, tmp_path / "slices")
    assert slice_factor(tmp_path / "slices") == 4
    with pytest.raises(UserError, match="no ControlNet"):
        slice_factor(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "content"),
    [("control.safetensors", b"version https://git-lfs.github.com/spec/v1"), ("config.json", b"[]")],
)
def test_a_controlnet_that_is_none_is_told_in_one_line_with_its_file(bundle, name, content):
    _, foundation, folder = bundle
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"^{folder / name}: ") as caught:
        load_controlled(folder, foundation)
    assert "\n" not in str(caught.value)
