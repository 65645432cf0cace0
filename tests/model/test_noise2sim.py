"""The U-Net of Noise2Sim: its sizes, its shortcut, sides that do not halve."""

import numpy as np
import pytest
import torch

from meddiff.metrics.fidelity import SCORING_WINDOW
from meddiff.model.noise2sim import Noise2Sim


def double(before, after):
    """Parameters of two convolutions of 3 x 3 with biases, each with a batch normalisation."""
    return 9 * before * after + 9 * after * after + 2 * after + 4 * after


def test_it_has_the_published_sizes():
    w = 96
    blocks = double(1, w) + double(w, 2 * w) + double(2 * w, 4 * w) + double(4 * w, 2 * w) + double(2 * w, w)
    enlarging = 4 * (4 * w * 2 * w + 2 * w * w) + 3 * w
    assert sum(p.numel() for p in Noise2Sim(SCORING_WINDOW).parameters()) == blocks + enlarging + w + 1


def test_without_weights_the_shortcut_returns_the_scan():
    network = Noise2Sim(SCORING_WINDOW, 4).eval()
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.zeros_(network.last.bias)
    hu = np.random.default_rng(0).integers(-160, 241, (2, 24, 24)).astype(np.int16)
    np.testing.assert_array_equal(network.denoise(hu), hu)


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 31, 46), (1, 33, 29)])
def test_a_scan_of_any_sides_keeps_its_shape(shape):
    torch.manual_seed(0)
    hu = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    denoised = Noise2Sim(SCORING_WINDOW, 4).eval().denoise(hu)
    assert (denoised.shape, denoised.dtype) == (shape, np.int16)


def test_the_file_holds_the_network_and_its_statistics(tmp_path):
    torch.manual_seed(0)
    network = Noise2Sim(SCORING_WINDOW, 4)
    network(torch.rand(4, 1, 16, 16))  # the running means of the batch normalisation move
    network.eval().save(tmp_path / "w", "identity")
    again = Noise2Sim.load(tmp_path / "w", torch.device("cpu"))
    hu = np.random.default_rng(0).integers(-160, 240, (1, 24, 24)).astype(np.int16)
    np.testing.assert_array_equal(again.denoise(hu), network.denoise(hu))
