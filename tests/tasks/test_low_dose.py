"""Simulated low dose: noise of the right amount and mean, and nothing but noise."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from meddiff.config import LowDoseConfig
from meddiff.tasks.low_dose import (
    MU_WATER_PER_MM,
    VIEWS,
    project,
    reconstruct,
    simulate_low_dose,
)
from meddiff.volumes.volumes import AIR_HU

SPACING_MM = 2.0
SHAPE_YX = (96, 120)
RADIUS_VOX = 40


def water(slices=2, shape_yx=SHAPE_YX):
    """A cylinder of water in air, int16, and where it is."""
    y, x = np.indices(shape_yx) - np.array(shape_yx)[:, None, None] / 2
    inside_zyx = np.broadcast_to(y**2 + x**2 < RADIUS_VOX**2, (slices, *shape_yx))
    return np.where(inside_zyx, 0, -1000).astype(np.int16), inside_zyx


def noise(dose=0.25, photons=1e5, electronic_noise=0.0, seed=0, slices=2):
    hu, inside = water(slices)
    low = simulate_low_dose(hu, SPACING_MM, dose, photons, electronic_noise, seed)
    return (low.astype(float) - hu)[inside]


def test_the_added_variance_is_what_is_missing_for_the_dose():
    variances = {dose: noise(dose).var() for dose in (0.5, 0.25, 0.1)}
    full = variances[0.5]  # 1 / 0.5 - 1 is 1: as much as there is at full dose
    assert variances[0.25] == pytest.approx(3 * full, rel=0.1)
    assert variances[0.1] == pytest.approx(9 * full, rel=0.1)
    # With the noise that the scan already holds, the standard deviation goes with 1 / sqrt(dose).
    for dose, added in variances.items():
        assert np.sqrt(full + added) == pytest.approx(np.sqrt(full / dose), rel=0.05)


def test_electronic_noise_adds_its_own_part():
    photons, dose, electronic = 1e5, 0.25, 200.0
    centre = photons * np.exp(-MU_WATER_PER_MM * 2 * RADIUS_VOX * SPACING_MM)  # along a diameter
    expected = 1 + (1 / dose + 1) * electronic**2 / centre  # ratio of the two variances of the docstring
    hu, _ = water()
    middle = (slice(None), slice(44, 52), slice(56, 64))
    quantum, both = (
        (simulate_low_dose(hu, SPACING_MM, dose, photons, e, 0).astype(float) - hu)[middle].var()
        for e in (0.0, electronic)
    )
    assert both / quantum == pytest.approx(expected, rel=0.3)


def test_the_noise_has_the_standard_deviation_of_filtered_backprojection():
    """In the centre all rays have the variance v, and the filter h makes pi^2 / (4 views) sum(h^2) v of it."""
    from skimage.transform.radon_transform import _get_fourier_filter

    hu, _ = water(slices=6)
    low = simulate_low_dose(hu, SPACING_MM, 0.5, 1e5, 0.0, 0)
    added = (low.astype(float) - hu)[:, 43:53, 55:65].std()
    size = 4096
    kernel = np.fft.ifft(_get_fourier_filter(size, "hann")[:, 0]).real
    variance = np.exp(MU_WATER_PER_MM * 2 * RADIUS_VOX * SPACING_MM) / 1e5
    expected = np.sqrt(variance * (np.pi / 2) ** 2 / VIEWS * (kernel**2).sum()) / SPACING_MM
    assert added == pytest.approx(expected * 1000 / MU_WATER_PER_MM, rel=0.2)


def test_the_mean_is_kept():
    values = noise(slices=4)
    assert abs(values.mean()) < 0.03 * values.std()


def test_only_noise_is_added():
    """Many realisations have the image itself as their mean: nothing is blurred."""
    hu, _ = water(slices=40, shape_yx=(40, 40))
    hu[:, 18:22, 18:22] = 800
    lows = simulate_low_dose(hu, 4.0, 0.25, 1e6, 0.0, seed=0).astype(float) - hu
    mean, std = np.mean(lows, 0), np.std(lows, 0)
    assert abs(mean / std * np.sqrt(40)).max() < 5


def test_the_seed_and_the_slice_decide():
    np.testing.assert_array_equal(noise(seed=1), noise(seed=1))
    assert not np.array_equal(noise(seed=1), noise(seed=2))
    hu, _ = water()
    low = simulate_low_dose(hu, SPACING_MM, 0.25, 1e5, 10, 0)
    assert not np.array_equal(low[0], low[1])
    np.testing.assert_array_equal(simulate_low_dose(hu[:1], SPACING_MM, 0.25, 1e5, 10, 0), low[:1])


@pytest.mark.parametrize("shape_yx", [(48, 48), (49, 64), (70, 41)])
def test_slices_of_any_shape_come_back_in_place_and_with_their_corners(shape_yx):
    y, x = np.indices(shape_yx)
    image = np.exp(-((y - 10) ** 2 + (x - shape_yx[1] + 8) ** 2) / 18).astype(np.float32)  # near a corner
    again = reconstruct(project(image[..., None]), shape_yx)[..., 0]
    assert again.shape == shape_yx
    weights = [(index * part.clip(0)).sum() / part.clip(0).sum() for part in (image, again) for index in (y, x)]
    assert np.abs(np.subtract(weights[:2], weights[2:])).max() < 0.6
    assert again[10, shape_yx[1] - 8] == pytest.approx(1, abs=0.2)


def test_views_and_backprojection_are_those_of_scikit_image():
    from skimage.transform import iradon, radon

    rng, shape_yx, angles = np.random.default_rng(0), (48, 62), np.linspace(0, 180, VIEWS, endpoint=False)
    image = gaussian_filter(rng.random(shape_yx), 3).astype(np.float32)
    image -= image.min()
    sinograms, expected = project(image[..., None])[..., 0], radon(image, angles, circle=False).T
    np.testing.assert_allclose(sinograms.sum(1), expected.sum(1), rtol=1e-3)
    energies, peers = (np.sort(np.square(each).sum(1)) for each in (sinograms, expected))  # they count angles otherwise
    np.testing.assert_allclose(energies, peers, rtol=0.03)
    again = reconstruct(project(image[..., None]), shape_yx)[..., 0]
    peer = iradon(expected.T, angles, output_size=62, filter_name="hann", circle=False)[7:55]
    np.testing.assert_allclose(again[6:-6, 6:-6], peer[6:-6, 6:-6], atol=0.02 * image.max())


def test_air_and_values_below_it_stay_in_range():
    hu = np.full((1, 32, 40), AIR_HU, np.int16)
    hu[:, 10:20, 10:20] = -3000
    low = simulate_low_dose(hu, 1.0, 0.25, 1e5, 10, 0)
    assert low.dtype == np.int16
    assert AIR_HU <= low.min()
    assert low.max() < -900


def test_no_ray_is_so_dark_that_its_noise_explodes():
    hu = np.full((1, 64, 64), 3000, np.int16)
    low = simulate_low_dose(hu, 4.0, 0.25, 1e5, 10, 0)  # up to exp(-27) of the photons are left
    assert np.abs(low.astype(float) - hu).max() < 1000


@pytest.mark.parametrize("dose", [0.0, 1.0, -1.0])
def test_other_doses_are_refused(dose):
    with pytest.raises(ValueError, match="between 0 and 1"):
        simulate_low_dose(water(1)[0], 1.0, dose, 1e5, 10, 0)


def test_the_configuration_holds_its_arguments():
    hu, _ = water(1)
    low = simulate_low_dose(hu, SPACING_MM, seed=0, **LowDoseConfig().model_dump(exclude={"scans"}))
    np.testing.assert_array_equal(low, simulate_low_dose(hu, SPACING_MM, 0.25, 1e5, 10.0, 0))
