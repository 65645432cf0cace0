"""MAP-NN and its critic: one module passed several times, the published sizes."""

import numpy as np
import pytest
import torch

from meddiff.metrics.fidelity import SCORING_WINDOW
from meddiff.model.mapnn import Critic, MapNN


@pytest.fixture
def network():
    torch.manual_seed(0)
    return MapNN(SCORING_WINDOW, width=4, depth=3).eval()


def test_passes_share_their_weights():
    sizes = {depth: sum(p.numel() for p in MapNN(SCORING_WINDOW, depth=depth).parameters()) for depth in (1, 5)}
    # Convolutions of 3 x 3: one from 1 to 32 channels, six from 32 to 32, one to 1; three of 1 x 1 from 64 to 32.
    assert sizes[1] == sizes[5] == 9 * (32 + 6 * 32 * 32 + 32) + 3 * 64 * 32


def test_it_is_the_published_module_written_out(network):
    x = torch.rand(2, 1, 13, 18)
    relu, cat = torch.relu, torch.cat
    conv, deconv, join = network.encoder, network.decoder, network.joins
    first = conv[0](x)
    second = conv[1](relu(first))
    third = conv[2](relu(second))
    h = relu(conv[3](relu(third)))
    h = relu(join[0](relu(cat([third, deconv[0](h)], 1))))
    h = relu(join[1](relu(cat([second, deconv[1](h)], 1))))
    h = relu(join[2](relu(cat([first, deconv[2](h)], 1))))
    expected = torch.clamp(relu(x + deconv[3](h)), 0, 1)
    torch.testing.assert_close(network.at_depth(1)(x), expected)


def test_a_depth_is_so_many_passes_of_the_first(network):
    x = torch.rand(1, 1, 16, 16)
    once = network.at_depth(1)
    torch.testing.assert_close(network(x), once(once(once(x))))
    assert network.depth == 3


def test_more_passes_of_a_module_that_smooths_leave_less_noise(network):
    """The residual of a smoothing module: what a blur would take away."""
    network.residual = lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x
    noisy = 0.5 + 0.1 * torch.randn(1, 1, 40, 40)
    left = [network.at_depth(depth)(noisy).std().item() for depth in (1, 2, 3)]
    assert left[0] > 1.1 * left[1] > 1.1 * 1.1 * left[2]


@pytest.mark.parametrize("shape", [(2, 9, 9), (1, 30, 45)])
def test_a_scan_keeps_its_shape_and_stays_in_the_window(network, shape):
    hu = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    denoised = network.denoise(hu)
    assert (denoised.shape, denoised.dtype) == (shape, np.int16)
    assert denoised.min() >= SCORING_WINDOW.low_hu
    assert denoised.max() <= SCORING_WINDOW.high_hu


def test_the_file_holds_the_network(network, tmp_path):
    network.save(tmp_path / "w", "identity")
    again = MapNN.load(tmp_path / "w", torch.device("cpu"))
    assert (again.sizes, again.depth, again.window) == ({"width": 4, "depth": 3}, 3, SCORING_WINDOW)
    hu = np.random.default_rng(0).integers(-160, 240, (1, 24, 24)).astype(np.int16)
    np.testing.assert_array_equal(again.denoise(hu), network.denoise(hu))


def test_the_critic_has_the_published_sizes():
    critic = Critic((64, 64))
    shapes = [tuple(p.shape) for name, p in critic.named_parameters() if name.endswith("weight")]
    widths = [(64, 1), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256)]
    assert shapes == [*((*pair, 3, 3) for pair in widths), (1024, 8 * 8 * 256), (1, 1024)]
    assert critic(torch.rand(2, 1, 64, 64)).shape == (2, 1)


def test_the_critic_takes_patches_of_any_size():
    assert Critic((21, 30), 2)(torch.rand(3, 1, 21, 30)).shape == (3, 1)
