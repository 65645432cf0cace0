"""Denoising without fine-tuning (section 3.4): three ways through the same model.

A method's `sigma_n` is the noise in units of half the region's HU window, in which the model's images lie in [-1, 1].
"""

import logging
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from meddiff.anatomy.noise import measure_noise_hu
from meddiff.config import DenoisingConfig
from meddiff.diffusion import diffpir
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import SlidingWindows, numbered
from meddiff.diffusion.solvers import make_solver
from meddiff.errors import UserError
from meddiff.machine.progress import showing
from meddiff.store.view import View
from meddiff.tasks.guided import Shown, guided
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.scan import Scan
from meddiff.volumes.hu import denormalise, normalise

log = logging.getLogger(__name__)

NOISE_REACH = 3.0  # Choice: standard deviations by which noise takes a voxel out of the window


def denoise(sampler: Sampler, view: View, config: DenoisingConfig, noise_hu: float, seed: int = 0) -> np.ndarray:
    """Return the scan with less noise, int16 HU; what lies outside of the region's window keeps its value.

    Noise takes voxels out of the window whose tissue lies in it: 27 HU a fifth of all fat, and then the largest noise
    of it. So a voxel that is outside by less than `NOISE_REACH` standard deviations counts as inside where the model
    sees a value within the window, and keeps its own where the model ends at the window's end.

    Args:
        sampler: the model.
        view: the scan, cut to its region.
        config: method and steps.
        noise_hu: standard deviation of the scan's noise, HU; the method `reverse` does not ask for it.
        seed: of the noise that the method adds.

    Raises:
        UserError: the model's schedule has no such noise.
    """
    hu_zyx, window = view.hu_zyx, view.window
    sigma_n = noise_hu / (window.width_hu / 2)
    windows = sampler.windows(view.anatomy_zyx, view.region, seed)
    noisy = windows.padded(torch.from_numpy(normalise(hu_zyx, window)))
    method = METHODS[config.method]
    lowest, highest = Schedule(windows.diffusion.timesteps).noise_range
    if not lowest <= sigma_n <= highest:
        ends_hu = [f"{sigma * window.width_hu / 2:.2g}" for sigma in (lowest, highest)]
        raise UserError(
            f"noise of {noise_hu:.2g} HU: in the {view.region} this model knows noise of {' to '.join(ends_hu)} HU"
        )
    clean = method(windows, noisy, config, sigma_n, torch.Generator().manual_seed(seed))
    result = denormalise(windows.inner(clean).cpu().numpy(), window)
    reach_hu = NOISE_REACH * noise_hu
    inside = (hu_zyx >= window.low_hu) & (hu_zyx <= window.high_hu)
    nearly = (hu_zyx >= window.low_hu - reach_hu) & (hu_zyx <= window.high_hu + reach_hu)
    within = (result > round(window.low_hu)) & (result < round(window.high_hu))
    return np.where(inside | nearly & within, result, hu_zyx)


def denoise_scan(
    sampler: Sampler, scan: Scan, config: DenoisingConfig, noise_hu: float | None, seed: int = 0, anyway: bool = False
) -> sitk.Image:
    """Return a user's scan with less noise, int16 HU on its own voxels.

    Args:
        sampler: the model.
        scan: cut to the region to work on.
        config: method and steps.
        noise_hu: standard deviation of the scan's noise, HU; none: measured in its soft tissue.
        seed: of the noise that the method adds.
        anyway: return a result also that is worse than the scan.

    Raises:
        CaseError: there is too little soft tissue to measure the noise in.
        UserError: the model's schedule has no such noise, or the result is worse than the scan.
    """
    if config.method == "guided":
        return scan.own(guided(sampler, scan.source, [Shown(scan)], noise_hu, seed))
    if noise_hu is None:
        noise_hu = measure_noise_hu(scan.hu_zyx, scan.anatomy_zyx, scan.spacing_mm)
        log.info("noise of %.1f HU, measured in soft tissue; give another with --noise-hu", noise_hu)
    clean_zyx = denoise(sampler, scan, config, noise_hu, seed)
    if not anyway:
        check_gain(scan, clean_zyx, noise_hu)
    return scan.with_changes(clean_zyx)


def check_gain(view: View, result_zyx: np.ndarray, noise_hu: float) -> None:
    """Refuse a result that is farther from the truth than the scan is.

    Of a scan with noise of standard deviation s, an estimate that errs by e takes the root of s^2 + e^2 away, if its
    error does not depend on the noise. So where more than s sqrt(2) is taken, e is larger than s.

    Raises:
        UserError: that much was taken away in the body, of what lies in the window.
    """
    window = view.window
    seen = (view.anatomy_zyx > 0) & (view.hu_zyx >= window.low_hu) & (view.hu_zyx <= window.high_hu)
    taken_hu = float((view.hu_zyx - result_zyx.astype(np.float32))[seen].std()) if seen.any() else 0.0
    if taken_hu > noise_hu * 2**0.5:
        raise UserError(
            f"the result differs from the scan by {taken_hu:.0f} HU where its noise is {noise_hu:.0f} HU, so that it "
            "is worse than the scan; take --method guided, or write it with --anyway"
        )


def one_step(
    windows: SlidingWindows, noisy_ZYX: Tensor, config: DenoisingConfig, sigma_n: float, _: torch.Generator
) -> Tensor:
    """Return x_0 as the network sees it at the timestep that has the scan's noise."""
    schedule = Schedule(windows.diffusion.timesteps)
    t = schedule.timestep_of(sigma_n)
    return windows.estimate_x0(schedule.at(t)[0] * noisy_ZYX, t, on_window=showing("denoise"))


def reverse(
    windows: SlidingWindows, noisy_ZYX: Tensor, config: DenoisingConfig, _: float, generator: torch.Generator
) -> Tensor:
    """Return where the reverse process leads that takes the scan for x_t (section 3.4 and 4.3: 50 steps)."""
    timesteps = windows.diffusion.timesteps
    solver = make_solver("ddpm", timesteps, timesteps)
    x = noisy_ZYX.clone()
    on_step = showing("denoise")
    for done, (step, t) in enumerate(numbered(solver.timesteps[-config.reverse_steps :]), start=1):
        solver.step(windows.estimate_x0(x, t, step), t, x, generator)
        on_step(done, config.reverse_steps)
    return x.clamp_(-1, 1)


def restore(
    windows: SlidingWindows, noisy_ZYX: Tensor, config: DenoisingConfig, sigma_n: float, generator: torch.Generator
) -> Tensor:
    """Return the result of DiffPIR with noise alone as the degradation.

    Choice: it starts at the timestep that has the scan's noise, so the scan itself is x_t.
    """
    schedule = Schedule(windows.diffusion.timesteps)
    start = schedule.timestep_of(sigma_n)
    x = schedule.at(start)[0] * noisy_ZYX

    def data_step(x0: Tensor, rho: float) -> Tensor:
        return (noisy_ZYX + rho * x0) / (1 + rho)

    timesteps = diffpir.evenly_spaced(start, config.diffpir_steps)
    pull = diffpir.Pull(data_step, config.diffpir_lambda * sigma_n**2, config.diffpir_zeta)
    return diffpir.restore(windows, x, timesteps, pull, generator, showing("denoise"))


METHODS: dict[str, Callable[[SlidingWindows, Tensor, DenoisingConfig, float, torch.Generator], Tensor]] = {
    "reverse": reverse,
    "diffpir": restore,
    "one-step": one_step,
}
