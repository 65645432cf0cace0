"""MS-SSIM and LPIPS: identity, order, and MONAI's own formula."""

import numpy as np
import pytest
import torch
from monai.losses.perceptual import MedicalNetPerceptualSimilarity

from meddiff.config import EvaluationConfig
from meddiff.evaluation import extractor as networks
from meddiff.evaluation.similarity import lpips, ms_ssim


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extractor")
    config = EvaluationConfig(network="resnet10", weights="random")
    networks.prepare(config, 0, folder / "w.safetensors", folder / "source.json")
    return networks.load(folder / "w.safetensors", folder / "source.json", torch.device("cpu"))


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(32, 32, 32, generator=generator) * 2 - 1
    return a, (a + 0.3 * torch.randn(a.shape, generator=generator)).clamp(-1, 1)


def test_ms_ssim(pair):
    a, b = pair
    assert ms_ssim(a, a, 2) == pytest.approx(1)
    assert 0 < ms_ssim(a, b, 2) < 0.99
    assert np.isnan(ms_ssim(a, b, 5))  # too small for five scales


def test_lpips_is_monais_formula(network, pair):
    a, b = (x[None, None] for x in pair)
    reference = MedicalNetPerceptualSimilarity.__new__(MedicalNetPerceptualSimilarity)
    torch.nn.Module.__init__(reference)
    reference.model, reference.channel_wise = network, False
    with torch.no_grad():
        expected = reference(a, b).flatten()
    torch.testing.assert_close(lpips(a, b, network), expected, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(lpips(a, a, network), torch.zeros(1))


def test_random_weights_say_so_and_are_seeded(tmp_path):
    config = EvaluationConfig(network="resnet10", weights="random")
    for name in ("a", "b"):
        networks.prepare(config, 0, tmp_path / name, tmp_path / f"{name}.json")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "random" in (tmp_path / "a.json").read_text()


def test_published_weights_load_from_a_file_of_their_form(tmp_path, monkeypatch):
    """MedicalNet's files hold `module.` names, a segmentation head and are checked by sha256."""
    import huggingface_hub

    from meddiff.files import sha256

    torch.manual_seed(1)
    state = {f"module.{k}": v for k, v in networks.Extractor("resnet10").net.state_dict().items()}
    state["module.conv_seg.0.weight"] = torch.zeros(3)
    torch.save({"state_dict": state}, tmp_path / "published.pth")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "published.pth"))
    entry = ("repository", "file", sha256(tmp_path / "published.pth"))
    monkeypatch.setitem(networks.PUBLISHED, "resnet10", entry)
    config = EvaluationConfig(network="resnet10", weights="medicalnet")
    networks.prepare(config, 0, tmp_path / "w", tmp_path / "w.json")
    loaded = networks.load(tmp_path / "w", tmp_path / "w.json", torch.device("cpu"))
    assert torch.equal(loaded.net.conv1.weight, state["module.conv1.weight"])
    assert "MedicalNet" in (tmp_path / "w.json").read_text()

    monkeypatch.setitem(networks.PUBLISHED, "resnet10", (*entry[:2], "0" * 64))
    with pytest.raises(networks.UserError, match="cannot be downloaded"):
        networks.prepare(config, 0, tmp_path / "w2", tmp_path / "w2.json")
    fallback = config.model_copy(update={"weights": "auto"})
    networks.prepare(fallback, 0, tmp_path / "w3", tmp_path / "w3.json")
    assert "random" in (tmp_path / "w3.json").read_text()
