"""Low-dose CT simulated from a normal-dose scan by inserting the noise that is missing."""

import numpy as np

from meddiff.volumes.volumes import AIR_HU

MU_WATER_PER_MM = 0.0192  # at about 70 keV, the mean energy of a 120 kV spectrum
VIEWS = 360  # Choice: over 180 degrees
FILTER = "hann"  # Choice: the noise of a soft-tissue kernel; a bare ramp's is two to three times as strong
FEWEST_PHOTONS = 20.0


def simulate_low_dose(
    hu_zyx: np.ndarray, spacing_mm: float, dose: float, photons: float, electronic_noise: float, seed: int
) -> np.ndarray:
    """Return the scan as it would look at a lower dose: the same image with more noise, int16 HU.

    Each axial slice is projected in parallel-beam geometry with one ray per voxel side, noise is drawn for every ray,
    and its filtered backprojection is added to the slice. As that is linear, the image itself loses no resolution.

    A ray through the line integral l meets n = `photons` exp(-l) photons at full dose. Its logarithm has the variance
    1/n + e^2/n^2, where e is `electronic_noise`, and at the dose d, where n d photons are left and e stays,
    1/(n d) + e^2/(n d)^2. A normal-dose scan holds the first already, so what is added is the difference,

        (1/d - 1) / n + (1/d^2 - 1) e^2 / n^2

    (noise insertion, Yu et al. 2012): for a quarter of the dose three times the quantum variance of full dose. It is
    drawn as Poisson noise of m = n d / (1 - d) photons and Gaussian noise of e sqrt((1 + d) / (1 - d)), the two
    distributions of Zeng et al. 2015; divided by m, they have these two variances.

    Choice: the logarithm of the noisy count is taken to first order, so that the mean is kept. Where fewer than 20
    photons are left this says nothing; such rays get the noise of 20, as scanners smooth them.

    Args:
        hu_zyx: the normal-dose scan, HU, axial slices of any shape.
        spacing_mm: size of its voxels.
        dose: share of the full dose, between 0 and 1, both excluded.
        photons: photons per ray at full dose before they enter the body.
        electronic_noise: standard deviation of the detector's own noise, in photons.
        seed: the noise of a slice depends on this and the slice's number.

    Raises:
        ValueError: the dose is not between 0 and 1.
    """
    if not 0 < dose < 1:
        raise ValueError(f"dose {dose:g} is not between 0 and 1")
    inserted_photons = photons * dose / (1 - dose)
    inserted_noise = electronic_noise * np.sqrt((1 + dose) / (1 - dose))
    low_dose_zyx = np.empty(hu_zyx.shape, np.int16)
    for z, hu_yx in enumerate(hu_zyx):
        mu_yx = MU_WATER_PER_MM * np.clip(1 + np.asarray(hu_yx, np.float32) / 1000, 0, None)
        line_integrals = project(mu_yx) * spacing_mm
        noise = _ray_noise(line_integrals, inserted_photons, inserted_noise, np.random.default_rng((seed, z)))
        noise_hu = reconstruct(noise / spacing_mm, mu_yx.shape) * (1000 / MU_WATER_PER_MM)
        low_dose_zyx[z] = np.clip(np.round(hu_yx + noise_hu), AIR_HU, np.iinfo(np.int16).max)
    return low_dose_zyx


def project(mu_yx: np.ndarray) -> np.ndarray:
    """Return the sums along the rays of all views, (rays, views); the whole slice counts, its corners too."""
    from skimage.transform import radon

    return radon(mu_yx, _angles(), circle=False)


def reconstruct(sinogram: np.ndarray, shape_yx: tuple[int, ...]) -> np.ndarray:
    """Return the filtered backprojection of a sinogram that `project` gave of a slice of this shape."""
    from skimage.transform import iradon

    side = max(shape_yx)
    square = iradon(sinogram, _angles(), output_size=side, filter_name=FILTER, circle=False)
    y, x = (side // 2 - n // 2 for n in shape_yx)  # both put the centre of rotation at n // 2
    return square[y : y + shape_yx[0], x : x + shape_yx[1]]


def _angles() -> np.ndarray:
    return np.linspace(0, 180, VIEWS, endpoint=False)


def _ray_noise(
    line_integrals: np.ndarray, photons: float, electronic_noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the noise of line integrals of which `photons` photons per ray were counted, of mean 0."""
    expected = np.maximum(photons * np.exp(-line_integrals), FEWEST_PHOTONS)
    counted = rng.poisson(expected) + electronic_noise * rng.standard_normal(expected.shape)
    return (expected - counted) / expected
