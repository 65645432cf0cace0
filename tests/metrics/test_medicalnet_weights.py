"""MedicalNet's weights come once, checked; only a lack of network is a reason for random ones."""

import hashlib
import json
import logging

import huggingface_hub
import pytest
import torch

from meddiff.config import EvaluationConfig
from meddiff.datasets import download
from meddiff.errors import UserError
from meddiff.metrics import extractor, medicalnet_weights
from meddiff.metrics.medicalnet import MedicalNet
from tests.datasets.test_download import Server, server  # noqa: F401


@pytest.fixture
def hub(server, tmp_path, monkeypatch) -> Server:  # noqa: F811
    """A hub that has a resnet10, and an empty cache."""
    torch.manual_seed(1)
    path = tmp_path / "published.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in MedicalNet("resnet10").state_dict().items()}}, path)
    server.content = path.read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    monkeypatch.setitem(medicalnet_weights.PUBLISHED, "resnet10", ("net", "resnet10.pth", digest))
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_: f"{server.url}/resnet10.pth")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(medicalnet_weights, "PATIENCE", download.Patience(breaks=0, wait_seconds=0))
    monkeypatch.setenv("MEDDIFF_CACHE", str(tmp_path / "cache"))
    return server


def made_with(weights, tmp_path):
    config = EvaluationConfig(network="resnet10", weights=weights)
    extractor.prepare(config, 0, tmp_path / "weights.safetensors", tmp_path / "source.json")
    return json.loads((tmp_path / "source.json").read_text())["made_with"]


def test_they_are_downloaded_once_and_become_the_extractor(hub, tmp_path):
    assert made_with("medicalnet", tmp_path) == made_with("auto", tmp_path) == "MedicalNet resnet10"
    assert len(hub.ranges) == 1
    assert (tmp_path / "cache" / "medicalnet" / "resnet10.pth").read_bytes() == hub.content
    loaded = extractor.load(tmp_path / "weights.safetensors", tmp_path / "source.json", torch.device("cpu"))
    torch.manual_seed(1)
    for name, tensor in MedicalNet("resnet10").state_dict().items():
        torch.testing.assert_close(loaded.net.state_dict()[name], tensor)


def test_the_cache_of_hugging_face_is_good_too(hub, tmp_path, monkeypatch):
    (tmp_path / "hub.pth").write_bytes(hub.content)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "hub.pth"))
    assert medicalnet_weights.provide("resnet10") == tmp_path / "hub.pth"
    assert hub.ranges == []


@pytest.mark.parametrize("offline", [False, True])
def test_without_network_the_weights_are_asked_for_or_random_ones_are_named(
    hub, tmp_path, monkeypatch, offline, caplog
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_: "http://127.0.0.1:9/resnet10.pth")
    with pytest.raises(UserError, match=r"no network; where there is one run `meddiff weights --to DIR`"):
        made_with("medicalnet", tmp_path)
    caplog.set_level(logging.WARNING, "meddiff")
    assert made_with("auto", tmp_path) == "random resnet10, seed 0"
    assert "the tables will say so" in caplog.text


@pytest.mark.parametrize("weights", ["medicalnet", "auto"])
def test_another_file_is_refused_and_never_replaced_by_random_weights(hub, tmp_path, weights):
    hub.content = b"another file"
    with pytest.raises(UserError, match="not the expected file"):
        made_with(weights, tmp_path)
    assert not (tmp_path / "source.json").exists()
