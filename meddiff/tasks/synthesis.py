"""Synthesis (section 3.4): anatomy and region in, a CT of any size out."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.regions import find_region
from meddiff.config import Region, RegionsConfig, Window
from meddiff.diffusion.levels import onto_region, tflop_of
from meddiff.diffusion.sampling import SavedState, sample_levels
from meddiff.diffusion.sliding import Cost
from meddiff.machine.files import digest
from meddiff.machine.progress import showing
from meddiff.tasks.sampler import Sampler
from meddiff.volumes import volumes
from meddiff.volumes.geometry import Grid
from meddiff.volumes.hu import air_hu, denormalise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawing:
    """A synthetic CT and how it was made.

    Args:
        hu_zyx: int16, within the region's window.
        borders_zyx: planes along each axis where a window of the last step began or ended.
        costs: what the network had to do at each level.
        tflop: the floating point operations of that, in 10^12.
    """

    hu_zyx: np.ndarray
    borders_zyx: list[list[int]]
    costs: list[Cost]
    tflop: float

    def facts(self) -> dict[str, Any]:
        """Return all but the voxels, as a JSON value."""
        return {"borders_zyx": self.borders_zyx, "windows": [vars(cost) for cost in self.costs], "tflop": self.tflop}


def synthesize(
    sampler: Sampler, anatomy_zyx: np.ndarray, region: Region, window: Window, seed: int, out: Path | None = None
) -> Drawing:
    """Return a synthetic CT with the given anatomy.

    Args:
        sampler: the model.
        anatomy_zyx: label ids, uint8.
        region: what the volume shows.
        window: the region's HU window.
        seed: of the noise.
        out: where the CT will go; a long volume keeps its state beside it, and goes on from there. Whoever has written
            the CT calls `forget_state`.
    """
    levels = sampler.levels(anatomy_zyx, region, seed)
    identity = digest([sampler.identity, region, seed, hashlib.sha256(anatomy_zyx.tobytes()).hexdigest()])
    saved = SavedState(_state_beside(out), identity) if out else None
    drawn = sample_levels(levels, seed, saved, showing(f"{sampler.model.name} {region}"))
    volume = onto_region(drawn, levels[-1].windows.place)
    costs = [level.windows.cost for level in levels]
    tflop = tflop_of(costs, sampler.model.network.config)
    return Drawing(denormalise(volume.numpy(), window), levels[-1].windows.borders_zyx(), costs, tflop)


def forget_state(out: Path) -> None:
    """Remove the state of a drawing that is needed no more: its CT is written, or shall never be."""
    _state_beside(out).unlink(missing_ok=True)


def _state_beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.state.pt")


def synthesize_mask(
    sampler: Sampler, mask: sitk.Image, region: Region, config: RegionsConfig, seed: int, out: Path | None = None
) -> sitk.Image:
    """Return a CT on the grid of an anatomy mask, and write it to `out` if that is given.

    What is drawn is the box of the region, around it is air. A preview is interpolated from one window, and its
    metadata say so (in NIfTI `descrip`).
    """
    oriented = sitk.DICOMOrient(mask, "LPS")
    labels_zyx, window = volumes.to_zyx(oriented), sampler.model.windows.for_region(region)
    inside = find_region(labels_zyx, sampler.model.spacing_mm, region, config).slices
    hu_zyx = np.full(labels_zyx.shape, air_hu(window), np.int16)
    hu_zyx[inside] = synthesize(sampler, labels_zyx[inside], region, window, seed, out).hu_zyx
    result = volumes.in_order_of(volumes.like(hu_zyx, oriented), Grid.of(mask))
    steps_mm = [n / sampler.patch_vox * sampler.model.spacing_mm for n in hu_zyx[inside].shape]
    if sampler.config.sampler == "preview" and max(steps_mm) > sampler.model.spacing_mm:
        words = "preview, drawn with voxels of " + " x ".join(f"{step:.1f}" for step in steps_mm) + " mm"
        log.info("a %s and interpolated: what is finer is not in it", words)
        result.SetMetaData("ITK_FileNotes", words)
    if out:
        volumes.write_image(result, out)
        forget_state(out)
    return result
