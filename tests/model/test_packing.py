"""Bundles in half precision: ControlNets go with their model, sizes have a limit, every file has its checksum."""

import pytest
import torch

from meddiff.errors import UserError
from meddiff.machine.files import read_json, sha256
from meddiff.model import packing
from meddiff.model.control_bundle import load_controlled, slice_factor
from meddiff.model.foundation import FoundationModel
from meddiff.model.packing import pack
from tests.weights.bundles import write_control, write_model


@pytest.fixture
def folders(tmp_path):
    model = write_model(tmp_path / "model")
    return {"super-resolution": write_control(tmp_path / "control", model, factor=2), "meddiff-fm": model}


def test_every_file_has_its_checksum(folders, tmp_path):
    sizes = pack(folders, tmp_path / "packed")
    checksums = read_json(tmp_path / "packed" / "sha256.json")
    files = [path for path in (tmp_path / "packed").rglob("*") if path.is_file() and path.name != "sha256.json"]
    assert checksums == {str(path.relative_to(tmp_path / "packed")): sha256(path) for path in files}
    assert len(files) == 6  # weights, configuration and card of each
    assert sizes == {
        name: pytest.approx(sum(path.stat().st_size for path in files if path.parent.name == name) / 1e6)
        for name in folders
    }


def test_a_control_net_goes_with_its_model_in_half_precision(folders, tmp_path):
    pack(folders, tmp_path / "packed")
    control, model = tmp_path / "packed" / "super-resolution", tmp_path / "packed" / "meddiff-fm"
    assert slice_factor(control) == 2
    whole = load_controlled(folders["super-resolution"], folders["meddiff-fm"])
    half = load_controlled(control, model)
    assert half.name == whole.name
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(half.network.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)
    with pytest.raises(UserError, match="belongs to a foundation model with sha256"):
        load_controlled(control, folders["meddiff-fm"])


def test_a_control_net_without_its_model_is_refused(folders, tmp_path):
    other = write_model(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="a ControlNet without its model"):
        pack(folders | {"meddiff-fm": other}, tmp_path / "packed")


def test_too_large_a_package_is_refused_and_has_no_checksums(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LARGEST_MB", 0.001)
    with pytest.raises(UserError, match=r"meddiff-fm \d.* MB is the most"):
        pack(folders, tmp_path / "packed")
    assert not (tmp_path / "packed" / "sha256.json").exists()


def test_a_folder_without_a_bundle_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no model bundle"):
        pack({"meddiff-fm": tmp_path / "nowhere"}, tmp_path / "packed")


def test_a_packed_model_says_what_it_was_made_with(folders, tmp_path):
    pack(folders, tmp_path / "packed")
    model = tmp_path / "packed" / "meddiff-fm"
    assert read_json(model / "config.json")["training"] == read_json(folders["meddiff-fm"] / "config.json")["training"]
    assert "license: other" in (model / "README.md").read_text()
    assert FoundationModel.from_pretrained(model).name == "tiny"
