"""Super-resolution: the step towards the thick slices is the least-squares minimum; other slices are refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from meddiff.config import (
    Config,
    DiffusionConfig,
    MachineConfig,
    Region,
    SamplingConfig,
    SuperResolutionConfig,
    WindowsConfig,
)
from meddiff.errors import CaseError
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.store.thick_slices import thicken
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.super_resolution import ThickScan, pull, read_thick, super_resolve
from meddiff.volumes.volumes import from_zyx, write_image
from tests.training import SMALL
from tests.weights.bundles import write_control, write_model


def problem(factor, count, seed=0):
    """Return x_0 and the thick slices, which are not those of x_0."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(count * factor, 2, 3, generator=generator, dtype=torch.float64)
    return x0, torch.randn(count, 2, 3, generator=generator, dtype=torch.float64)


@given(st.integers(2, 6), st.integers(1, 5), st.floats(1e-3, 100), st.integers(0, 2**32))
def test_the_pull_is_the_least_squares_minimum(factor, count, rho, seed):
    """The normal equations (H^T H + rho) x = H^T y + rho x_0, with H as a matrix, in float64."""
    x0, thick = problem(factor, count, seed)
    H = np.zeros((count, count * factor))
    for i in range(count):
        H[i, i * factor : (i + 1) * factor] = 1 / factor
    right = H.T @ thick.flatten(1).numpy() + rho * x0.flatten(1).numpy()
    expected = np.linalg.solve(H.T @ H + rho * np.eye(count * factor), right)
    np.testing.assert_allclose(pull(x0, thick, factor, rho).flatten(1), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_without_a_prior_the_thick_slices_come_out(factor):
    x0, thick = problem(factor, 4)
    torch.testing.assert_close(thicken(pull(x0, thick, factor, 0.0), factor).double(), thick, atol=1e-6, rtol=0)


def test_without_a_prior_the_details_of_a_thick_slice_stay():
    x0, thick = problem(3, 4)
    found = pull(x0, thick, 3, 0.0).unflatten(0, (-1, 3))
    torch.testing.assert_close(found.diff(dim=1), x0.unflatten(0, (-1, 3)).diff(dim=1), atol=1e-6, rtol=0)


def test_with_nothing_but_the_prior_x0_comes_out():
    x0, thick = problem(5, 4)
    torch.testing.assert_close(pull(x0, thick, 5, 1e12), x0, atol=1e-9, rtol=0)


def test_what_fits_already_is_not_pulled():
    x0, _ = problem(5, 4)
    torch.testing.assert_close(pull(x0, thicken(x0, 5), 5, 0.3), x0, atol=1e-6, rtol=0)


@pytest.mark.parametrize("keeps", [True, False])
def test_thin_slices_average_to_the_thick_ones_where_that_is_configured(tmp_path, keeps):
    """Whatever the model draws: this one has learnt nothing."""
    model = write_model(tmp_path / "model")
    sampler = Sampler(
        model, SamplingConfig(bfloat16=False), MachineConfig(device="cpu"), write_control(tmp_path / "control", model)
    )
    window = WindowsConfig().chest
    thick_zyx = np.random.default_rng(0).uniform(-700, -300, (4, 20, 12)).astype(np.float32)
    scan = ThickScan(thick_zyx, np.full((12, 20, 12), 10, np.uint8), Region.CHEST, window)
    config = SuperResolutionConfig(factor=3, steps=2, keep_slice_means=keeps)
    thin = super_resolve(sampler, scan, config, seed=0)
    assert thin.shape == (12, 20, 12)
    inside = (np.abs(thin - window.level_hu) < window.width_hu / 2 - 1).reshape(4, 3, 20, 12).all(1)
    error = np.abs(thin.reshape(4, 3, 20, 12).mean(1) - thick_zyx)[inside]
    assert inside.mean() > 0.5
    assert (error.max() <= 1) == keeps


def test_slices_of_another_thickness_than_the_model_learned_are_refused(tmp_path):
    image = from_zyx(np.linspace(-900, 900, 800).reshape(8, 10, 10).astype(np.int16), 6.0)
    image.SetSpacing((6.0, 6.0, 12.0))
    write_image(image, tmp_path / "thick.nii.gz")
    model = FoundationModel(UNet(SMALL), DiffusionConfig(), "tiny", 6.0, WindowsConfig())
    with pytest.raises(
        CaseError, match=r"slices of 12 mm, and the model was fine-tuned for 30 mm \(5 times its 6 mm\)"
    ):
        read_thick(tmp_path / "thick.nii.gz", Region.CHEST, None, model, Config())
