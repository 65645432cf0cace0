"""Low-dose CT simulated from a normal-dose scan by inserting the noise that is missing."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft
from scipy.sparse import csr_array

from meddiff.volumes.volumes import AIR_HU

MU_WATER_PER_MM = 0.0192  # at about 70 keV, the mean energy of a 120 kV spectrum
VIEWS = 360  # Choice: over 180 degrees
FEWEST_PHOTONS = 20.0


def simulate_low_dose(
    hu_zyx: np.ndarray, spacing_mm: float, dose: float, photons: float, electronic_noise: float, seed: int
) -> np.ndarray:
    """Return the scan as it would look at a lower dose: the same image with more noise, int16 HU.

    Axial slices are projected in parallel-beam geometry with one ray per voxel side, noise is drawn for every ray,
    and its filtered backprojection is added to the slices. As that is linear, the image itself loses no resolution.
    Choice: the ramp under Hann's window, as a soft-tissue kernel; a bare ramp has two to three times the noise.

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
    hu_yxz = np.moveaxis(np.asarray(hu_zyx, np.float32), 0, -1)
    line_integrals = project(MU_WATER_PER_MM * np.clip(1 + hu_yxz / 1000, 0, None)) * spacing_mm
    for z in range(len(hu_zyx)):  # in place: the noise of a slice's rays for their line integrals
        rng = np.random.default_rng((seed, z))
        line_integrals[..., z] = _ray_noise(line_integrals[..., z], inserted_photons, inserted_noise, rng)
    noise_hu = reconstruct(line_integrals, hu_zyx.shape[1:]) * (1000 / MU_WATER_PER_MM / spacing_mm)
    low_dose_zyx = np.moveaxis(np.round(hu_yxz + noise_hu), -1, 0)
    return np.clip(low_dose_zyx, AIR_HU, np.iinfo(np.int16).max).astype(np.int16)


def project(mu_yxz: np.ndarray) -> np.ndarray:
    """Return the sums along the rays of all views, (views, rays, z) float32; a whole slice counts, its corners too.

    Choice: a pixel is four points. As one, the lines of pixels along a diagonal, 0.7 rays apart, would be seen as such.
    """
    pixels = mu_yxz.reshape(-1, mu_yxz.shape[-1])
    return np.stack([view @ pixels for view in _views(mu_yxz.shape[:2], (-0.25, 0.25))])


def reconstruct(sinograms: np.ndarray, shape_yx: tuple[int, ...]) -> np.ndarray:
    """Return the filtered backprojection, (y, x, z), of what `project` gave of slices of this shape."""
    size = fft.next_fast_len(2 * sinograms.shape[1], real=True)
    spectra = fft.rfft(sinograms, size, axis=1) * _filter(size)[:, None]
    filtered = fft.irfft(spectra, size, axis=1)[:, : sinograms.shape[1]]
    image = np.zeros((*shape_yx, sinograms.shape[-1]), np.float32)
    for view, rays in zip(_views(shape_yx, (0,)), filtered, strict=True):
        image += (view.T @ rays).reshape(image.shape)
    return np.pi / VIEWS * image


def _views(shape_yx: tuple[int, ...], offsets: Sequence[float]) -> Iterator[csr_array]:
    """Yield for each view which share of each pixel falls on each ray, (rays, pixels), for all slices at once.

    Each point of a pixel is shared by the two rays beside it; the transpose interpolates linearly between them.

    Args:
        shape_yx: of a slice.
        offsets: of a pixel's points from its centre, along either axis.
    """
    y, x = (np.arange(n, dtype=np.float32) - n // 2 for n in shape_yx)
    rays, pixels = math.ceil(math.hypot(*shape_yx)) + 4, np.arange(y.size * x.size)
    points = [(a, b) for a in offsets for b in offsets]
    for angle in np.linspace(0, np.pi, VIEWS, endpoint=False):
        sin, cos = np.sin(angle), np.cos(angle)
        centre = (y[:, None] * sin + x * cos).ravel() + rays // 2
        ray = np.add.outer([a * sin + b * cos for a, b in points], centre).ravel()
        before = np.floor(ray).astype(np.intp)
        share = (ray - before).astype(np.float32) / len(points)
        places = (np.concatenate((before, before + 1)), np.tile(pixels, 2 * len(points)))
        yield csr_array((np.concatenate((1 / len(points) - share, share)), places), shape=(rays, pixels.size))


def _filter(size: int) -> np.ndarray:
    """Return the ramp, by its samples in space (Kak and Slaney 1988, chapter 3, Eq. 61), under Hann's window."""
    offset = fft.fftfreq(size, 1 / size)
    odd = offset % 2 == 1
    samples = np.where(odd, -1 / (np.pi * np.where(odd, offset, 1)) ** 2, 0.0)
    samples[0] = 0.25
    ramp, cycles = fft.rfft(samples).real, fft.rfftfreq(size)
    return (ramp * np.cos(np.pi * cycles) ** 2).astype(np.float32)


def _ray_noise(
    line_integrals: np.ndarray, photons: float, electronic_noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the noise of line integrals of which `photons` photons per ray were counted, of mean 0."""
    expected = np.maximum(photons * np.exp(-line_integrals), FEWEST_PHOTONS)
    counted = rng.poisson(expected) + electronic_noise * rng.standard_normal(expected.shape)
    return (expected - counted) / expected
