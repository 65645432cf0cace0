"""Lesions by fine-tuning (section 3.5): drawn from nothing, or into a scan."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from meddiff.anatomy.labels import BODY
from meddiff.config import LesionsConfig, Window
from meddiff.diffusion.repaint import inpaint, walk
from meddiff.diffusion.sampling import sample_volume
from meddiff.diffusion.sliding import Place
from meddiff.errors import CaseError
from meddiff.machine.progress import showing
from meddiff.store.lesion_patches import Box, centred_corner
from meddiff.store.patches import padded
from meddiff.store.record import Record
from meddiff.store.view import View
from meddiff.tasks.sampler import Sampler
from meddiff.volumes.hu import air_hu, denormalise, normalise


@dataclass(frozen=True)
class LesionView(View):
    """A part of a region with a lesion in it, or all of the region.

    Args:
        lesion_zyx: where the lesion is or shall be, bool.
        place: where the part lies in the region.
    """

    lesion_zyx: np.ndarray
    place: Place

    def __post_init__(self) -> None:
        """Refuse a lesion that cannot be drawn.

        Raises:
            CaseError: there is none, or it lies outside of the body.
        """
        if not self.lesion_zyx.any():
            raise CaseError(f"the lesion mask has no lesion in the {self.region}; give one that has")
        if not (self.lesion_zyx & (self.anatomy_zyx > 0)).any():
            raise CaseError("the lesion mask lies outside of the body; move it into the body")

    @classmethod
    def around(cls, record: Record, lesion_zyx: Any, box: Box, patch_vox: int) -> "LesionView":
        """Return the patch of a record with a lesion's box in its middle; `lesion_zyx` are the record's lesions."""
        meta = record.meta
        corner = centred_corner(box, patch_vox)
        hu, anatomy, lesion = _cut((record.ct, record.anatomy, lesion_zyx), corner, patch_vox, meta.window)
        place = Place(tuple(corner), meta.size_zyx)
        return cls(hu, anatomy, meta.region, meta.window, meta.spacing_mm, lesion, place)

    def patch(self, box: Box, patch_vox: int) -> "LesionView":
        """Return the patch with a lesion's box in its middle."""
        corner = centred_corner(box, patch_vox)
        ct, anatomy, lesion = _cut((self.hu_zyx, self.anatomy_zyx, self.lesion_zyx), corner, patch_vox, self.window)
        place = Place(_moved(self.place, corner), self.place.region_zyx)
        return replace(self, hu_zyx=ct, anatomy_zyx=anatomy, lesion_zyx=lesion, place=place)


def generate(sampler: Sampler, view: LesionView, seed: int, name: str) -> np.ndarray:
    """Return a CT that is drawn from anatomy and lesion alone, int16 HU; of the scan nothing is seen.

    Args:
        sampler: a model that was fine-tuned for lesions.
        view: what it shall show.
        seed: of the noise.
        name: for the progress lines.
    """
    windows = sampler.windows(view.anatomy_zyx, view.region, seed, view.place, target_ZYX=_target(view))
    return denormalise(sample_volume(windows, seed, on_step=showing(name)).numpy(), view.window)


def inpaint_lesion(sampler: Sampler, view: LesionView, config: LesionsConfig, seed: int, name: str) -> np.ndarray:
    """Return the scan with a lesion drawn into it, int16 HU; beyond the margin every voxel is as it was.

    Only windows near the lesion are computed.

    Args:
        sampler: a model that was fine-tuned for lesions.
        view: the scan and the lesion's mask.
        config: steps, jumps and the margin.
        seed: of the noise.
        name: for the progress lines.
    """
    share_zyx = blend_share(view.lesion_zyx, config.margin_mm / view.spacing_mm)
    near = _surroundings(share_zyx > 0, sampler.patch_vox)
    part = _part(view, near)
    windows = sampler.windows(part.anatomy_zyx, part.region, seed, part.place, target_ZYX=_target(part))
    known = windows.padded(torch.from_numpy(normalise(part.hu_zyx, part.window)))
    unknown = windows.padded(torch.from_numpy(share_zyx[near] > 0), False)
    generator = torch.Generator().manual_seed(seed)
    levels = walk(config.inpainting_steps, config.jump_length, config.resampling)
    drawn = windows.inner(inpaint(windows, known, unknown, levels, generator, showing(name))).cpu().numpy()
    result_zyx, share = view.hu_zyx.copy(), share_zyx[near]
    blended = share * denormalise(drawn, part.window) + (1 - share) * part.hu_zyx
    result_zyx[near] = np.where(share > 0, np.round(blended).astype(np.int16), part.hu_zyx)
    return result_zyx


def with_lesion(anatomy_zyx: np.ndarray, lesion_zyx: np.ndarray) -> np.ndarray:
    """Return a healthy anatomy as it is labelled with a lesion in it: there is body that is none of the structures.

    Choice: as TotalSegmentator labels most of a tumour, and so as training shows it. A model that is told of lung draws
    lung, whatever the lesion's mask says.
    """
    return np.where(lesion_zyx & (anatomy_zyx > 0), BODY, anatomy_zyx).astype(np.uint8)


def blend_share(lesion_zyx: np.ndarray, margin_vox: float) -> np.ndarray:
    """Return how much of each voxel is drawn: 1 in the lesion, falling to 0 over the margin, float32."""
    distance = ndimage.distance_transform_edt(~lesion_zyx)
    return np.where(distance <= margin_vox, 1 - distance / (margin_vox + 1), 0).astype(np.float32)


def _surroundings(mask_zyx: np.ndarray, least_vox: int) -> Box:
    """Return the box of a mask with room for the model to see: half a patch around it, and a patch at least."""
    (box,) = ndimage.find_objects(mask_zyx.astype(np.uint8))
    found = []
    for side, size in zip(box, mask_zyx.shape, strict=True):
        missing = max(least_vox, side.stop - side.start + least_vox // 2) - (side.stop - side.start)
        start = max(0, min(side.start - missing // 2, size - (side.stop - side.start + missing)))
        found.append(slice(start, min(size, start + side.stop - side.start + missing)))
    return tuple(found)


def _part(view: LesionView, box: Box) -> LesionView:
    place = replace(view.place, offset_zyx=_moved(view.place, [s.start for s in box]))
    arrays = {"hu_zyx": view.hu_zyx[box], "anatomy_zyx": view.anatomy_zyx[box], "lesion_zyx": view.lesion_zyx[box]}
    return replace(view, **arrays, place=place)


def _cut(
    arrays: tuple[Any, Any, Any], corner: list[int], patch_vox: int, window: Window
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the patch of a scan, its anatomy and its lesions; beyond the region there is air."""
    fills = (air_hu(window), 0, 0)
    ct, anatomy, lesion = (
        padded(array, corner, (patch_vox,) * 3, fill).numpy() for array, fill in zip(arrays, fills, strict=True)
    )
    return ct, anatomy, lesion > 0


def _moved(place: Place, corner: list[int]) -> tuple[int, ...]:
    return tuple(o + c for o, c in zip(place.offset_zyx, corner, strict=True))


def _target(view: LesionView) -> torch.Tensor:
    return torch.from_numpy(view.lesion_zyx.astype(np.float32))
