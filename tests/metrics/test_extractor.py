"""The feature network's weights, its one input, and LPIPS by MONAI's own formula."""

import numpy as np
import pytest
import torch
from monai.losses.perceptual import MedicalNetPerceptualSimilarity

from meddiff.config import EvaluationConfig
from meddiff.metrics import extractor as networks
from meddiff.metrics.features import resized, tile_features
from meddiff.metrics.lpips import lpips


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


def test_lpips_is_monais_formula_but_for_its_scaling_of_the_input(network, pair):
    """MONAI brings each volume to mean 0 and deviation 1 itself; volumes that are so already stay as they are."""
    a, b = ((x[None, None] - x.mean()) / x.std() for x in pair)
    reference = MedicalNetPerceptualSimilarity.__new__(MedicalNetPerceptualSimilarity)
    torch.nn.Module.__init__(reference)
    reference.model, reference.channel_wise = network, False
    with torch.no_grad():
        expected = reference(a, b).flatten()
    torch.testing.assert_close(lpips(a, b, network), expected, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(lpips(a, a, network), torch.zeros(1))


def test_a_scan_whose_hu_are_all_off_is_not_perfect(network, pair):
    """FID, MMD and LPIPS see one and the same input, which keeps HU."""
    config = EvaluationConfig(network="resnet10", feature_vox=32)
    scan = pair[0]
    a, b = (resized(x, network, config) for x in (scan, scan + 0.2))
    assert lpips(a, b, network).item() > 1e-4
    for wrong in (scan + 0.2, scan * 0.7):
        assert np.abs(tile_features(scan, network, config) - tile_features(wrong, network, config)).max() > 1e-3
    np.testing.assert_array_equal(
        tile_features(scan, network, config), network.features(resized(scan, network, config)).detach().numpy()
    )


def test_random_weights_say_so_and_are_seeded(tmp_path):
    config = EvaluationConfig(network="resnet10", weights="random")
    for name in ("a", "b"):
        networks.prepare(config, 0, tmp_path / name, tmp_path / f"{name}.json")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "random" in (tmp_path / "a.json").read_text()


def test_weights_that_are_not_the_published_ones_are_not_used(tmp_path, monkeypatch):
    import huggingface_hub

    torch.save({"state_dict": {}}, tmp_path / "published.pth")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "published.pth"))
    config = EvaluationConfig(network="resnet10", weights="medicalnet")
    with pytest.raises(networks.UserError, match="resnet10 is not here"):
        networks.prepare(config, 0, tmp_path / "w2", tmp_path / "w2.json")
    fallback = config.model_copy(update={"weights": "auto"})
    networks.prepare(fallback, 0, tmp_path / "w3", tmp_path / "w3.json")
    assert "random" in (tmp_path / "w3.json").read_text()
