"""What is measured on pairs that are not tested, and how a result comes back to a scan's own grid."""

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.anatomy.labels import BODY
from meddiff.config import Config, Region, WindowsConfig
from meddiff.config.stages import restrict
from meddiff.metrics.fidelity import fidelity
from meddiff.stages.low_dose import Pair
from meddiff.stages.native_grid import denoise_scan, guide_scan, kept_detail, noise_hu
from meddiff.volumes import volumes
from meddiff.volumes.resample import isotropic_grid
from tests.tasks.healthy import HealthySampler

TISSUE_HU, NOISE_HU, OWN_NOISE_HU = 60, 25.0, 10.0
ANATOMY = np.full(119, 0.0)  # 60 HU in the abdomen's window


def pair_of(tissue_hu=TISSUE_HU, in_plane_mm=0.7, own_noise_hu=0.0, seed=0):
    """A box of one tissue with white noise; the clean scan has a little of its own."""
    rng = np.random.default_rng(seed)
    clean = tissue_hu + rng.normal(0, own_noise_hu, (24, 60, 60))
    noisy = clean + rng.normal(0, NOISE_HU, clean.shape)
    images = [sitk.GetImageFromArray(hu.round().astype(np.int16)) for hu in (noisy, clean)]
    for image in images:
        image.SetSpacing((in_plane_mm, in_plane_mm, 1.0))
    grid = isotropic_grid(images[0], 1.0)
    labels = volumes.like(np.full(grid.GetSize()[::-1], BODY, np.uint8), grid)
    return Pair("box", "test", Region.ABDOMEN, *images, 1.0, labels)


def sampler():
    found = HealthySampler(ANATOMY)
    found.model = SimpleNamespace(windows=WindowsConfig())
    return found


def denoised(pair, detail):
    return denoise_scan(sampler(), pair, "one-step", NOISE_HU, detail, restrict(Config(), "denoise_pairs"))


def test_the_noise_is_that_of_tissue_in_the_window_whatever_the_noise_made_of_it():
    """At -140 HU, near the window's end, a fifth of the noisy values lie outside of it, the largest noise of all."""
    pair = pair_of(-140, in_plane_mm=1.0)
    assert noise_hu(pair) == pytest.approx((pair.noisy_zyx - pair.clean_zyx.astype(float)).std(), rel=0.01)


def test_the_noise_is_that_which_the_model_sees():
    """Larger voxels have less of it."""
    assert noise_hu(pair_of()) < 0.8 * NOISE_HU


def test_of_what_the_model_cannot_see_the_share_that_is_no_noise_is_kept():
    """White noise of 10 HU in the clean scan, of 25 HU more in the noisy one."""
    pairs = [pair_of(own_noise_hu=OWN_NOISE_HU, seed=seed) for seed in range(2)]
    share = kept_detail(pairs)
    assert share == pytest.approx(OWN_NOISE_HU**2 / (OWN_NOISE_HU**2 + NOISE_HU**2), abs=0.03)
    test = pair_of(own_noise_hu=OWN_NOISE_HU, seed=5)
    psnr = {detail: fidelity(denoised(test, detail), test.clean_zyx)["psnr"] for detail in (0.0, share, 1.0)}
    assert psnr[share] > psnr[0.0] > psnr[1.0] + 3


def test_where_the_grids_are_one_the_result_is_the_models():
    pair = pair_of(in_plane_mm=1.0)
    assert kept_detail([pair]) == 1.0
    assert np.abs(denoised(pair, 1.0) - TISSUE_HU).max() <= 1


def test_what_lies_outside_of_the_window_keeps_its_detail():
    """Bone, whatever share is kept within the window."""
    pair = pair_of(700)
    np.testing.assert_allclose(denoised(pair, 0.0), pair.noisy_zyx, atol=1)


def test_guided_finds_the_noise_of_each_scan_by_itself():
    """Voxels of 0.7 mm, a model of 1 mm; nothing is measured on other scans."""
    pair = pair_of()
    result = guide_scan(sampler(), pair, restrict(Config(), "denoise_pairs"))
    noisy_db, result_db = (fidelity(hu, pair.clean_zyx)["psnr"] for hu in (pair.noisy_zyx, result))
    assert result_db > noisy_db + 8
    assert result.dtype == np.int16
