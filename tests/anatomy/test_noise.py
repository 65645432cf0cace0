"""The noise of a scan, where the truth is known: noise of one's own on a body with organs, fat, vessels and lungs."""

import numpy as np
import pytest
from scipy import ndimage

from meddiff.anatomy.noise import measure_noise_hu
from meddiff.errors import CaseError

SIZE = (6, 180, 180)
AIR, FAT, LUNG, VESSEL, BONE = -1000.0, -100.0, -850.0, 180.0, 900.0


@pytest.fixture(scope="module")
def body():
    """HU without noise, and where the body is: an ellipse of 1 mm voxels, organs of soft tissue, and all the rest."""
    z, y, x = np.indices(SIZE).astype(float)
    radius = np.hypot((y - 90) / 75, (x - 90) / 85)
    hu = np.select([radius < 0.85, radius < 1], [50.0, FAT], AIR)
    rng = np.random.default_rng(0)
    for centre_y, centre_x, size, value in (
        (60, 60, 22, 30),
        (110, 70, 18, 65),
        (80, 120, 20, 80),
        (120, 115, 12, LUNG),
    ):
        hu[np.hypot(y - centre_y, x - centre_x) < size] = value
    for _ in range(60):
        centre = rng.uniform(40, 140, 2)
        hu[np.hypot(y - centre[0] - z, x - centre[1]) < rng.uniform(0.8, 2)] = VESSEL  # they run through the slices
    hu[np.hypot(y - 140, x - 90) < 8] = BONE
    blurred = ndimage.gaussian_filter(hu, (0, 0.7, 0.7))
    return blurred, (radius < 1).astype(np.uint8)


def noise(kind):
    """Return noise with a standard deviation of 1.

    That of a reconstruction has the spectrum of the ramp filter with a window: nothing at frequency 0, most at 0.15/mm.
    """
    white = np.random.default_rng(1).normal(size=SIZE)
    if kind == "thick slices":
        white = np.repeat(white[:2], 3, 0)
    if kind == "reconstruction":
        frequency = np.hypot(np.fft.fftfreq(SIZE[1])[:, None], np.fft.fftfreq(SIZE[2]))
        white = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(frequency * np.exp(-frequency / 0.15))).real
    if kind == "smoothed":
        white = ndimage.gaussian_filter(white, (0, 0.8, 0.8))
    return white / white.std()


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("white", 0.96, 1.06), ("thick slices", 0.96, 1.06), ("reconstruction", 0.96, 1.06), ("smoothed", 0.85, 1.06)],
)
@pytest.mark.parametrize("sigma_hu", [8, 20, 60])
def test_noise_of_any_kind_is_found_and_structure_is_not_counted(body, kind, low, high, sigma_hu):
    hu, inside = body
    found = measure_noise_hu((hu + sigma_hu * noise(kind)).round().astype(np.int16), inside, 1.0)
    assert low * sigma_hu < found < high * sigma_hu


def test_what_is_not_soft_tissue_does_not_count(body):
    hu, inside = body
    noisy = hu + np.where((hu > -120) & (hu < 120), 10, 150) * noise("white")
    assert measure_noise_hu(noisy, inside, 1.0) == pytest.approx(10, rel=0.06)


def test_a_scan_without_noise_has_none(body):
    hu, inside = body
    assert measure_noise_hu(hu.round().astype(np.int16), inside, 1.0) < 0.5


def test_coarse_voxels_are_measured_too(body):
    hu, inside = body
    coarse, white = hu[:, 2::5, 2::5], np.random.default_rng(2).normal(size=(6, 36, 36))
    assert measure_noise_hu(coarse + 20 * white, inside[:, 2::5, 2::5], 5.0) == pytest.approx(20, rel=0.2)


def test_without_soft_tissue_there_is_a_reason(body):
    hu, inside = body
    with pytest.raises(CaseError, match="no soft tissue to measure the noise in; give it with --noise-hu"):
        measure_noise_hu(np.full(SIZE, -1000, np.int16), inside, 1.0)
    with pytest.raises(CaseError, match="no soft tissue"):
        measure_noise_hu(hu, np.zeros(SIZE, np.uint8), 1.0)
