"""RED-CNN: the published network, its window, its file."""

import numpy as np
import pytest
import torch

from meddiff.config import Window
from meddiff.metrics.fidelity import SCORING_WINDOW
from meddiff.model.redcnn import RedCNN


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RedCNN(SCORING_WINDOW, width=4).eval()


def test_it_has_the_published_size():
    assert sum(p.numel() for p in RedCNN(SCORING_WINDOW).parameters()) == 1_848_865


def test_it_is_the_published_network_written_out(network):
    x = torch.rand(2, 1, 23, 30)
    conv, deconv = network.encoder, network.decoder
    second = torch.relu(conv[1](torch.relu(conv[0](x))))
    fourth = torch.relu(conv[3](torch.relu(conv[2](second))))
    h = torch.relu(deconv[0](torch.relu(conv[4](fourth))) + fourth)
    h = torch.relu(deconv[2](torch.relu(deconv[1](h))) + second)
    expected = torch.relu(deconv[4](torch.relu(deconv[3](h))) + x)
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("shape", [(2, 21, 21), (1, 30, 44)])
def test_a_scan_keeps_its_shape_and_stays_in_the_window(network, shape):
    hu = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    denoised = network.denoise(hu)
    assert (denoised.shape, denoised.dtype) == (shape, np.int16)
    assert denoised.min() >= SCORING_WINDOW.low_hu
    assert denoised.max() <= SCORING_WINDOW.high_hu


def test_without_weights_the_shortcut_returns_the_scan():
    network = RedCNN(Window(level_hu=-500, width_hu=1800), width=4)
    torch.nn.init.zeros_(network.decoder[4].weight)
    torch.nn.init.zeros_(network.decoder[4].bias)
    hu = np.random.default_rng(0).integers(-1400, 400, (2, 24, 24)).astype(np.int16)
    np.testing.assert_array_equal(network.denoise(hu), hu)


def test_the_file_holds_the_network(network, tmp_path):
    path = tmp_path / "folder" / "redcnn.safetensors"
    network.save(path, "identity")
    again = RedCNN.load(path, torch.device("cpu"))
    assert (again.window, again.sizes) == (network.window, network.sizes)
    hu = np.random.default_rng(0).integers(-160, 240, (1, 24, 24)).astype(np.int16)
    np.testing.assert_array_equal(again.denoise(hu), network.denoise(hu))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
