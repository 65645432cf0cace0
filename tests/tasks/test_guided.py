"""The filter that a model guides, with a model that knows the truth, one that knows another, and one that errs."""

import numpy as np
import pytest

from meddiff.config import Region, WindowsConfig
from meddiff.tasks.baselines import wiener as plain
from meddiff.tasks.guided import Shown, guided
from meddiff.tasks.scan import Scan
from meddiff.volumes import volumes
from meddiff.volumes.geometry import Grid
from meddiff.volumes.resample import resample_ct
from tests.tasks.healthy import HealthySampler
from tests.tasks.noisy import BODY_HU, NOISE_HU, ball, body, correlated, rmse

WINDOW = WindowsConfig().abdomen
TISSUE, VESSEL, CONTRAST_HU = 118, 52, 60.0


def model(tissue_hu=BODY_HU, vessel_hu=220.0):
    values = np.zeros(119)
    for label, hu in ((TISSUE, tissue_hu), (VESSEL, vessel_hu)):
        values[label] = (hu - WINDOW.level_hu) / (WINDOW.width_hu / 2)
    return HealthySampler(values)


def run(sampler, noisy_zyx, labels_zyx, spacing_mm=2.0, own=slice(None)):
    """Labels are those at 2 mm, the spacing of the model."""
    source = volumes.from_zyx(noisy_zyx.round().astype(np.int16), spacing_mm)
    grid = resample_ct(source, 2.0)
    view = (volumes.to_zyx(grid), labels_zyx, Region.ABDOMEN, WINDOW, grid.GetSpacing()[0])
    scan = Scan(*view, source, Grid.of(source), grid)
    return guided(sampler, source, [Shown(scan, own)])


@pytest.fixture(scope="module")
def thin_vessels():
    """Short vessels of 2 voxels whose contrast is that of the noise, the clean and the noisy scan."""
    rng = np.random.default_rng(3)
    vessels = np.zeros((32, 64, 64), bool)
    for z, y, x in rng.integers(4, (22, 58, 58), (60, 3)):
        vessels[z : z + 5, y : y + 2, x : x + 2] = True
    clean = np.where(vessels, BODY_HU + CONTRAST_HU, BODY_HU)
    labels = np.where(vessels, VESSEL, TISSUE).astype(np.uint8)
    return labels, clean, clean + correlated(clean.shape)


def test_a_model_that_knows_the_anatomy_adds_to_the_filter(thin_vessels):
    labels, clean, noisy = thin_vessels
    found = run(model(vessel_hu=BODY_HU + CONTRAST_HU), noisy, labels)
    vessels = labels == VESSEL
    assert rmse(found, clean) < 0.45 * rmse(noisy, clean)
    assert rmse(found[vessels], clean[vessels]) < 0.95 * rmse(plain(noisy)[vessels], clean[vessels])


@pytest.mark.parametrize("wrong_hu", [-60.0, 200.0])
def test_a_model_that_errs_makes_no_scan_worse(thin_vessels, wrong_hu):
    """It draws all tissue with HU that the scan has nowhere."""
    labels, clean, noisy = thin_vessels
    found = run(model(tissue_hu=wrong_hu, vessel_hu=wrong_hu), noisy, labels)
    assert rmse(found, clean) < 0.75 * rmse(noisy, clean)
    assert abs(found.mean() - noisy.mean()) < 1


@pytest.mark.parametrize(("radius_vox", "contrast_hu"), [(2, 150.0), (3, 80.0), (5, 40.0), (8, -25.0)])
def test_a_lesion_that_the_model_does_not_draw_keeps_its_contrast(radius_vox, contrast_hu):
    clean = body((48, 64, 64), organs=False)
    lesion, around = ball(clean.shape, radius_vox)
    noisy = clean + contrast_hu * lesion + correlated(clean.shape)
    found = run(model(), noisy, np.full(clean.shape, TISSUE, np.uint8))
    before, after = (hu[lesion].mean() - hu[around].mean() for hu in (noisy, found))
    assert after / before > 0.95
    assert found[around].std() < 0.5 * NOISE_HU


def test_noise_finer_than_the_models_voxels_goes_too():
    """Voxels of 0.7 mm, a model of 2 mm."""
    clean = body((40, 96, 96))
    noisy = clean + correlated(clean.shape, blur_yx=0.8)
    grid = resample_ct(volumes.from_zyx(noisy.round().astype(np.int16), 0.7), 2.0)
    labels = np.full(grid.GetSize()[::-1], TISSUE, np.uint8)
    assert rmse(run(model(), noisy, labels, spacing_mm=0.7), clean) < 0.5 * rmse(noisy, clean)


def test_only_its_own_slices_are_the_models(thin_vessels):
    labels, _, noisy = thin_vessels
    whole, upper = (run(model(), noisy, labels, own=own) for own in (slice(None), slice(20, None)))
    np.testing.assert_allclose(upper[-4:], whole[-4:], atol=1)
    assert np.abs(upper[:8] - plain(noisy)[:8]).mean() < np.abs(whole[:8] - plain(noisy)[:8]).mean()


def test_what_lies_outside_of_the_window_is_not_the_models():
    bone = np.full((32, 64, 64), 900, np.float32)
    bone[:, :, :32] = BODY_HU
    noisy = bone + correlated(bone.shape)
    found = run(model(), noisy, np.full(bone.shape, TISSUE, np.uint8))
    assert abs(found[:, :, 40:].mean() - 900) < 2
