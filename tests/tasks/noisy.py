"""A body with organs and the noise of a reconstruction, to denoise."""

import numpy as np
from scipy import ndimage

BODY_HU, NOISE_HU = 40.0, 25.0


def body(shape=(32, 64, 64), organs=True):
    """Soft tissue with bright and dark tubes along z, float32 HU."""
    _, y, x = np.indices(shape)
    hu = np.full(shape, BODY_HU, np.float32)
    for cy, cx, radius, value in ((18, 20, 7, 110), (44, 30, 5, -70), (30, 48, 3, 220), (50, 52, 4, 90)):
        hu[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] += organs * (value - BODY_HU)
    return hu


def correlated(shape, blur_yx=0.7, seed=0):
    """Noise of slices that are reconstructed alone: white along z, smooth within the slice; NOISE_HU."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, blur_yx, blur_yx))
    return (NOISE_HU * noise / noise.std()).astype(np.float32)


def ball(shape, radius):
    """A ball in the middle, and a shell of its surroundings."""
    distance = np.sqrt(sum((axis - size / 2) ** 2 for axis, size in zip(np.indices(shape), shape, strict=True)))
    return distance < radius, (distance > radius + 2) & (distance < radius + 6)


def rmse(a, b):
    return float(np.sqrt(np.mean((np.asarray(a, float) - b) ** 2)))
