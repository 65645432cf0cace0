"""Super-resolution by fine-tuning (v3): thin slices out of thick ones, with ControlNet and DiffPIR."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from meddiff.anatomy.numbering import MaskFile
from meddiff.anatomy.regions import find_region
from meddiff.config import Config, Region, SuperResolutionConfig, Window
from meddiff.diffusion.diffpir import Pull, evenly_spaced, restore
from meddiff.diffusion.sampling import sample_volume
from meddiff.diffusion.sliding import SlidingWindows
from meddiff.errors import CaseError
from meddiff.machine.progress import showing
from meddiff.model.foundation import FoundationModel
from meddiff.store.thick_slices import interpolate, interpolated, repeat, thicken, thin_grid
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.scan import read_anatomy
from meddiff.volumes import volumes
from meddiff.volumes.hu import air_scaled, denormalise, normalise
from meddiff.volumes.resample import axis_aligned_grid, resample_onto

THICKNESS_TOLERANCE = 0.2  # Choice: slices that are nearly as thick are resampled


@dataclass(frozen=True)
class ThickScan:
    """A region with thick slices: HU (Z, Y, X) float32, and on the grid of `factor` times as many slices its anatomy.

    Args:
        thick_zyx: the thick slices, HU.
        anatomy_zyx: label ids of the thin slices, uint8.
        region: what it shows.
        window: the region's HU window.
    """

    thick_zyx: np.ndarray
    anatomy_zyx: np.ndarray
    region: Region
    window: Window


def super_resolve(
    sampler: Sampler, scan: ThickScan, config: SuperResolutionConfig, seed: int, pulled: bool = True
) -> np.ndarray:
    """Return the thin slices, int16 HU within the region's window.

    Choice: with `keep_slice_means` DiffPIR ends with a step to slices that average to the thick ones, which its last
    estimate as published does not.

    Args:
        sampler: a model that was fine-tuned for super-resolution by `config.factor`.
        scan: the thick slices.
        config: factor, noise and steps.
        seed: of the noise.
        pulled: towards the thick slices, by DiffPIR; else they are the ControlNet's condition alone. Choice: that
            takes as many steps as DiffPIR does, where the model leaves it free.
    """
    thick = torch.from_numpy(normalise(scan.thick_zyx, scan.window))
    condition = {"target_ZYX": interpolate(thick, config.factor), "target_outside": air_scaled(scan.window)}
    windows = sampler.windows(scan.anatomy_zyx, scan.region, seed, **condition)
    on_step = showing("super-resolution")
    if not pulled:
        steps = config.steps if sampler.model.steps is None else None
        return denormalise(sample_volume(windows, seed, steps=steps, on_step=on_step).numpy(), scan.window)
    generator = torch.Generator().manual_seed(seed)
    timesteps = evenly_spaced(windows.diffusion.timesteps - 1, config.steps)
    noise = windows.noise(generator)
    data_step = _data_step(windows, thick.to(windows.device), config.factor)
    measurement = Pull(data_step, config.diffpir_lambda * config.sigma_n**2, config.diffpir_zeta)
    x0 = restore(windows, noise, timesteps, measurement, generator, on_step)
    if config.keep_slice_means:
        x0 = data_step(x0, 0.0)
    return denormalise(windows.inner(x0).cpu().numpy(), scan.window)


def pull(x0_ZYX: Tensor, thick_ZYX: Tensor, factor: int, rho: float) -> Tensor:
    """Return the minimum over x of |y - Hx|^2 + rho |x - x_0|^2, where H averages `factor` slices and y is thick.

    H H^T is 1 / factor, so the minimum is x_0 + H^T (y - H x_0) / (1 / factor + rho).
    """
    missing = thick_ZYX - thicken(x0_ZYX, factor)
    return x0_ZYX + repeat(missing, factor) / (1 + factor * rho)


def read_thick(
    path: Path, region: Region, anatomy: MaskFile | None, model: FoundationModel, config: Config
) -> tuple[ThickScan, sitk.Image]:
    """Read a scan with thick slices, and return it with the grid of its thin slices.

    In the plane it is resampled to the model's spacing, along z only where its slices are not `factor` times that.

    Args:
        path: NIfTI, NRRD or MHA file, or DICOM folder.
        region: the part to work on.
        anatomy: see `read_anatomy`; TotalSegmentator labels the interpolated scan.
        model: gives spacing and window.
        config: for factor, anatomy and region.

    Raises:
        CaseError: no readable CT, slices of another thickness, a mask of another geometry, no such region.
    """
    source = volumes.read_ct(path, allow_missing=config.data.allow_missing_slices)
    spacing_mm, factor = model.spacing_mm, config.super_resolution.factor
    thickness_mm, wanted_mm = source.GetSpacing()[2], spacing_mm * factor
    if abs(thickness_mm / wanted_mm - 1) > THICKNESS_TOLERANCE:
        raise CaseError(
            f"slices of {thickness_mm:g} mm, and the model was fine-tuned for {wanted_mm:g} mm ({factor} times its "
            f"{spacing_mm:g} mm); give such a scan, or fine-tune one with another super_resolution.factor"
        )
    thick = resample_onto(source, axis_aligned_grid(source, (spacing_mm, spacing_mm, spacing_mm * factor)))
    thin = thin_grid(thick, factor)
    ct = interpolated(thick, factor)
    labels_zyx = read_anatomy(anatomy, source, ct, config)
    box = find_region(labels_zyx, spacing_mm, region, config.regions)
    start, stop = list(box.start_zyx), list(box.stop_zyx)
    start[0], stop[0] = start[0] // factor * factor, min(-(-stop[0] // factor) * factor, len(labels_zyx))
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    slices = (slice(start[0] // factor, stop[0] // factor), *inside[1:])
    scan = ThickScan(
        volumes.to_zyx(thick)[slices].astype(np.float32), labels_zyx[inside], region, model.windows.for_region(region)
    )
    return scan, volumes.crop(thin, tuple(start), tuple(stop))


def _data_step(windows: SlidingWindows, thick: Tensor, factor: int):  # noqa: ANN202
    """Return the data step of DiffPIR for the part of a padded volume that was asked for."""

    def step(x0: Tensor, rho: float) -> Tensor:
        result = x0.clone()
        windows.inner(result).copy_(pull(windows.inner(x0), thick, factor, rho))
        return result

    return step
