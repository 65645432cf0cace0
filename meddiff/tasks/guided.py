"""Denoising that knows its noise: a Wiener filter of the scan's own noise spectrum, which the model guides.

The scan y is filtered on its own grid, so that no noise is too fine for it. A Wiener filter needs to know how strong
the signal is in each coefficient of each block, which pilots tell. The first pilot is what of y noise does not explain.
After a pass with it the scan is clean enough for the model's white noise: some is added, and the model draws the scan
out of it. Back on the scan's grid, what noise does not explain of y minus the drawing is given back to it; that is the
second pilot. The result is y filtered with both, and with the contrasts of y (`keep_contrast`).

So nothing comes out that y does not hold, what the model leaves out is given back where it is more than noise, and a
coefficient in which noise is weak stays as it was, whatever the model draws.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
import torch

from meddiff.diffusion.schedule import Schedule
from meddiff.machine.progress import showing
from meddiff.tasks.contrast import keep_contrast
from meddiff.tasks.noise_spectrum import NoiseSpectrum
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.scan import Scan, onto_source
from meddiff.volumes import volumes
from meddiff.volumes.hu import normalise
from meddiff.volumes.resample import resample_onto

ADDED_NOISE = 0.7  # Choice: times what the first pass took away, as the model's voxels show it; measured


log = logging.getLogger(__name__)


class Shown(NamedTuple):
    """A region that a scan shows, and which of its slices are the model's to draw."""

    scan: Scan
    own: slice = slice(None)


def guided(
    sampler: Sampler, source: sitk.Image, regions: Sequence[Shown], noise_hu: float | None = None, seed: int = 0
) -> np.ndarray:
    """Return a scan with less noise, int16 HU on its own grid.

    Args:
        sampler: the model.
        source: the scan, its axes in any order.
        regions: where the model draws; elsewhere the first pilot alone decides.
        noise_hu: standard deviation of the noise in soft tissue; none: as measured, like its texture and its places.
        seed: of the noise that the model is given.

    Raises:
        CaseError: there is too little soft tissue to measure the noise in.
    """
    slices = _slice_axis(source)
    noisy_zyx = np.moveaxis(volumes.to_zyx(source), slices, 0)
    noise = NoiseSpectrum.from_scan(noisy_zyx)
    if noise_hu is not None:
        noise = noise.with_std(noise_hu)
    log.info("noise of %.1f HU in soft tissue", noise.std_hu)
    plain_zyx = noise.significant(noisy_zyx)
    filtered_zyx = noise.wiener(noisy_zyx, plain_zyx)
    drawn_zyx = filtered_zyx.copy()
    filtered = volumes.put_upright(volumes.like(np.moveaxis(_as_hu(filtered_zyx), 0, slices), source))
    for scan, own in regions:
        change = volumes.like(_change(sampler, scan, filtered, own, seed), scan.grid)
        drawn_zyx += np.moveaxis(volumes.to_zyx(onto_source(change, source)), slices, 0)
    pilot_zyx = drawn_zyx + noise.significant(noisy_zyx - drawn_zyx)
    result_zyx = keep_contrast(noisy_zyx, noise.wiener(noisy_zyx, plain_zyx, pilot_zyx))
    return np.moveaxis(_as_hu(result_zyx), 0, slices)


def _change(sampler: Sampler, scan: Scan, filtered: sitk.Image, own: slice, seed: int) -> np.ndarray:
    """Return the model's drawing of a region minus the filtered scan, float32 HU at the model's spacing.

    It is 0 where the filtered scan lies outside of the window, and everywhere if the noise is below the model's.
    """
    seen_zyx = volumes.to_zyx(resample_onto(filtered, scan.grid)).astype(np.float32)
    change_zyx = np.zeros_like(seen_zyx)
    taken_hu = float((scan.hu_zyx - seen_zyx)[scan.anatomy_zyx > 0].std())
    window, half_hu = scan.window, scan.window.width_hu / 2
    windows = sampler.windows(scan.anatomy_zyx, scan.region, seed)
    schedule = Schedule(windows.diffusion.timesteps)
    sigma = ADDED_NOISE * taken_hu / half_hu
    if sigma < schedule.noise_range[0]:
        return change_zyx
    t = schedule.timestep_of(sigma)
    alpha, sigma_t = schedule.at(t)
    noise = windows.noise(torch.Generator().manual_seed(seed))
    scaled = torch.from_numpy(normalise(seen_zyx, window))
    drawn = windows.estimate_x0(alpha * windows.padded(scaled) + sigma_t * noise, t, on_window=showing("denoise"))
    drawn_hu = windows.inner(drawn).cpu().numpy() * half_hu + window.level_hu
    inside = (seen_zyx[own] > window.low_hu) & (seen_zyx[own] < window.high_hu)
    change_zyx[own] = np.where(inside, drawn_hu[own] - seen_zyx[own], 0)
    return change_zyx


def _slice_axis(image: sitk.Image) -> int:
    """Return the axis of an image's array along which its slices lie, which are transverse."""
    along_z_xyz = np.abs(np.reshape(image.GetDirection(), (3, 3))[2])
    return 2 - int(along_z_xyz.argmax())


def _as_hu(hu_zyx: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(hu_zyx), volumes.AIR_HU, np.iinfo(np.int16).max).astype(np.int16)
