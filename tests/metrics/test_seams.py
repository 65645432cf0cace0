"""The measure of seams: 1 without, more with; and what sampling makes of a network whose windows disagree."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from meddiff.config import DiffusionConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.sampling import sample_volume
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, SlidingWindows
from meddiff.metrics.seams import seam_ratio

BORDERS = ([16], [8, 16], [])


@pytest.fixture(scope="module")
def texture():
    return 50 * ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((32, 32, 32)), 1.0)


def test_a_volume_without_seams_has_a_ratio_of_one(texture):
    assert seam_ratio(texture, np.ones(texture.shape, bool), BORDERS) == pytest.approx(1, abs=0.15)


def test_a_step_at_a_border_counts_and_elsewhere_does_not(texture):
    body = np.ones(texture.shape, bool)
    clean = seam_ratio(texture, body, BORDERS)
    stepped = texture.copy()
    stepped[16:] += 50
    assert seam_ratio(stepped, body, BORDERS) > 2 * clean
    assert seam_ratio(stepped, body, ([15], [8, 16], [])) == pytest.approx(
        seam_ratio(texture, body, ([15], [8, 16], [])), rel=0.1
    )


def test_only_the_body_counts(texture):
    body = np.zeros(texture.shape, bool)
    body[:, :16] = True
    stepped = texture.copy()
    stepped[16:, 16:] += 500
    assert seam_ratio(stepped, body, ([16], [], [])) == pytest.approx(seam_ratio(texture, body, ([16], [], [])))


def test_a_volume_of_one_window_has_no_seams(texture):
    assert np.isnan(seam_ratio(texture, np.ones(texture.shape, bool), ([], [], [])))


class Disagreeing(torch.nn.Module):
    """Finds a texture, and a brightness that it reads from each window's own noise."""

    config = NetworkConfig(patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.schedule = Schedule(1000)

    def encode_condition(self, anatomy, _coordinates, _target):
        return (anatomy[:, None].float() - 60) / 400

    def forward(self, x, t, _region, truth):
        alpha, sigma = self.schedule.coefficients(t)
        noise = (x - alpha * truth).mean((1, 2, 3, 4), keepdim=True) / (alpha**2 + sigma**2).sqrt()
        return truth + 0.3 * torch.tanh(100 * noise)


@pytest.mark.parametrize(
    ("recipe", "low", "high"),
    [
        ({"overlap": 0.0}, 1.5, np.inf),  # naive: windows side by side, at the same place at every step
        ({}, 0.8, 1.2),
        ({"windows": "shifted"}, 0.8, 1.2),
    ],
)
def test_windows_side_by_side_have_seams_and_the_defaults_have_none(texture, recipe, low, high):
    anatomy = torch.from_numpy(np.clip(60 + 2 * texture, 1, 118).astype(np.uint8)).repeat(1, 1, 2)
    config = SamplingConfig(bfloat16=False).model_copy(update=recipe)
    windows = SlidingWindows([Disagreeing()], DiffusionConfig(prediction="sample"), Condition(anatomy, 0), config)
    volume = sample_volume(windows, 0).numpy()
    ratio = seam_ratio(volume, np.ones(volume.shape, bool), windows.borders_zyx())
    assert low < ratio < high
