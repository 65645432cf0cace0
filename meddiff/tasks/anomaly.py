"""Anomaly detection without fine-tuning (section 3.4): what the model would not have drawn in a healthy organ."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from meddiff.anatomy.labels import LUNG, ids
from meddiff.config import REGION_OF, AnomalyConfig, Organ
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import CaseError, UserError
from meddiff.machine.progress import showing
from meddiff.store.view import View
from meddiff.tasks.sampler import Sampler
from meddiff.volumes.hu import air_scaled, normalise

LEAST_ML = (
    100  # Choice: a head shows 60 ml of the tips of the lungs; the lungs of an adult have 4,000 ml, the liver 1,500
)
CLASSES: dict[Organ, tuple[str, ...]] = {Organ.LUNG: LUNG, Organ.LIVER: ("liver",)}
RUNNING_THROUGH: dict[Organ, tuple[str, ...]] = {  # a healthy one
    Organ.LUNG: ("pulmonary_vein", "trachea"),
    Organ.LIVER: ("portal_vein_and_splenic_vein", "inferior_vena_cava"),
}


def organ_mask(anatomy_zyx: np.ndarray, organ: Organ, spacing_mm: float, closing_mm: float) -> np.ndarray:
    """Return where the organ is, bool; holes and bays that a lesion leaves in its label belong to it.

    Raises:
        CaseError: there is no such organ.
    """
    mask = np.isin(anatomy_zyx, ids(*CLASSES[organ]))
    if not mask.any():
        raise CaseError(f"no {organ} in the anatomy; a mask with the {organ} is needed")
    radius = round(closing_mm / spacing_mm)
    if radius:
        # Borders count as outside for the dilation and as inside for the erosion, so that nothing is cut off there.
        outside = ndimage.distance_transform_edt(np.pad(~mask, radius, constant_values=True))
        grown = outside <= radius
        closed = ndimage.distance_transform_edt(grown) > radius
        mask |= closed[(slice(radius, -radius),) * 3]
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    return mask | filled


def organ_of(view: View, organ: Organ, closing_mm: float) -> np.ndarray:
    """Return where a user's scan shows the organ, bool.

    Raises:
        UserError: it does not, but for what is so little that it was mistaken for the organ.
    """
    shown_ml = np.isin(view.anatomy_zyx, ids(*CLASSES[organ])).sum() * view.spacing_mm**3 / 1000
    if shown_ml < LEAST_ML:
        raise UserError(
            f"the scan shows no {organ}: {shown_ml:.0f} ml are labelled so, and {LEAST_ML} ml are needed; give a scan "
            f"of the {REGION_OF[organ]}, or an anatomy mask that has the {organ}"
        )
    return organ_mask(view.anatomy_zyx, organ, view.spacing_mm, closing_mm)


def healthy_anatomy(anatomy_zyx: np.ndarray, organ: Organ, organ_zyx: np.ndarray) -> np.ndarray:
    """Return the label ids with those of the organ throughout its mask, each the nearest one.

    A lesion is labelled as what it looks like, soft tissue or a liver in the lung, or as nothing; a model that is told
    so draws it, too. Vessels and airways that are labelled stay.
    """
    is_other = ~np.isin(anatomy_zyx, ids(*CLASSES[organ]))
    is_hidden = organ_zyx & is_other & ~np.isin(anatomy_zyx, ids(*RUNNING_THROUGH[organ]))
    nearest = ndimage.distance_transform_edt(is_other, return_distances=False, return_indices=True)
    return np.where(is_hidden, anatomy_zyx[tuple(nearest)], anatomy_zyx)


@dataclass(frozen=True)
class Probe:
    """How a scan is hidden from the model, which then draws it without what is not healthy.

    Args:
        timestep: of the noise that hides a lesion.
        draws: how many draws of the noise are averaged.
        masked: show the model the organ alone, as the paper does; the model was trained on whole scans, and finds
            more when it sees one. Choice: the rest is air, the one filling that training shows, and the anatomy
            around the organ is told all the same.
    """

    timestep: int
    draws: int = 1
    masked: bool = True


def anomaly_map(
    sampler: Sampler, view: View, organ: Organ, organ_zyx: np.ndarray, probe: Probe, seed: int = 0
) -> np.ndarray:
    """Return the scan minus the model's estimate of it, float32, 0 outside of the organ.

    It is in units of half the HU window: positive where the scan is brighter than expected, -2 to 2. Choice: the model
    is told the anatomy of `healthy_anatomy`.

    Args:
        sampler: the model.
        view: the scan, cut to its region.
        organ: which is to be healthy.
        organ_zyx: what `organ_mask` returned.
        probe: timestep, draws, and what the model sees.
        seed: of the noise.

    Raises:
        UserError: the timestep is not on the model's schedule.
    """
    anatomy_zyx = healthy_anatomy(view.anatomy_zyx, organ, organ_zyx)
    windows, timestep = sampler.windows(anatomy_zyx, view.region, seed), probe.timestep
    if not 0 <= timestep < windows.diffusion.timesteps:
        raise UserError(f"t {timestep} is outside of the noise schedule; give 0 to {windows.diffusion.timesteps - 1}")
    scaled = normalise(view.hu_zyx, view.window)
    seen_zyx = np.where(organ_zyx, scaled, np.float32(air_scaled(view.window))) if probe.masked else scaled
    seen = windows.padded(torch.from_numpy(seen_zyx))
    alpha, sigma = Schedule(windows.diffusion.timesteps).at(timestep)
    generator = torch.Generator().manual_seed(seed)
    mean = torch.zeros_like(seen)
    for _ in range(probe.draws):
        x_t = alpha * seen + sigma * windows.noise(generator)
        mean += windows.estimate_x0(x_t, timestep, on_window=showing("anomaly map")) / probe.draws
    return np.where(organ_zyx, scaled - windows.inner(mean).cpu().numpy(), 0).astype(np.float32)


def timesteps(config: AnomalyConfig, organ: Organ) -> tuple[int, ...]:
    """Return the timesteps of an organ's rows in Table 5."""
    return {Organ.LUNG: config.lung_timesteps, Organ.LIVER: config.liver_timesteps}[organ]
