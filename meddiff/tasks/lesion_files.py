"""Lesions for one scan or anatomy of a user: masks read or drawn, results on the grid of what was given."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from meddiff.anatomy.drawn_lesions import draw_lesion
from meddiff.anatomy.regions import find_region
from meddiff.config import Config, Organ, Region
from meddiff.diffusion.sliding import Place
from meddiff.errors import CaseError, UserError
from meddiff.tasks.anomaly import organ_mask
from meddiff.tasks.lesions import LesionView, blend_share, generate, inpaint_lesion, with_lesion
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.scan import Scan
from meddiff.volumes import volumes
from meddiff.volumes.geometry import Grid
from meddiff.volumes.hu import air_hu
from meddiff.volumes.lesion_labels import read_own_lesion


@dataclass(frozen=True)
class Wanted:
    """Which lesion: that of a mask file, or one to be drawn in an organ."""

    file: Path | None
    organ: Organ | None
    diameter_mm: float
    seed: int

    def __post_init__(self) -> None:
        if (self.file is None) == (self.organ is None):
            raise UserError("give either --lesion, a mask of yours, or --organ, where one is to be drawn")

    def mask(self, labels_zyx: np.ndarray, grid: sitk.Image, source: Grid, closing_mm: float) -> np.ndarray:
        """Return the lesion on a grid, bool.

        Args:
            labels_zyx: anatomy on the grid.
            grid: where the lesion is wanted.
            source: the scan's grid without shear, where an RTSTRUCT or SEG must lie.
            closing_mm: of the organ's mask.

        Raises:
            CaseError: the mask is empty or lies elsewhere, or there is no such organ.
        """
        spacing_mm = grid.GetSpacing()[0]
        if self.file is None:
            organ_zyx = organ_mask(labels_zyx, Organ(self.organ), spacing_mm, closing_mm)
            return draw_lesion(organ_zyx, self.diameter_mm, spacing_mm, np.random.default_rng(self.seed))
        try:
            return read_own_lesion(self.file, source, grid)
        except CaseError as error:
            raise CaseError(f"with the lesion mask {self.file}: {error}") from error


class WithLesion(NamedTuple):
    """A CT in HU, and on its voxels the mask of the lesion that was drawn, uint8."""

    ct: sitk.Image
    mask: sitk.Image


def generate_lesion(
    sampler: Sampler, mask: sitk.Image, region: Region, wanted: Wanted, config: Config, patch: bool = False
) -> WithLesion:
    """Return a synthetic CT with a lesion and the lesion's mask, on the grid of the anatomy or of the lesion's patch.

    What is drawn is the box of the region; around it is air.

    Args:
        sampler: a model that was fine-tuned for lesions.
        mask: the anatomy, as `read_mask` gives it.
        region: what it shows.
        wanted: which lesion.
        config: for the organ's mask and the region.
        patch: draw the patch around the lesion alone.

    Raises:
        CaseError: a mask cannot be used.
    """
    own_grid, given = Grid.of(mask), sitk.DICOMOrient(mask, "LPS")
    labels_zyx, window = volumes.to_zyx(given), sampler.model.windows.for_region(region)
    lesion_zyx = wanted.mask(labels_zyx, given, own_grid.orthogonal(), config.anomaly.closing_mm)
    box = find_region(labels_zyx, sampler.model.spacing_mm, region, config.regions)
    labels_zyx, lesion_zyx = labels_zyx[box.slices], lesion_zyx[box.slices]
    air_zyx = np.full(labels_zyx.shape, air_hu(window), np.int16)
    whole = Place((0, 0, 0), labels_zyx.shape)
    shown_zyx = with_lesion(labels_zyx, lesion_zyx)
    view = LesionView(air_zyx, shown_zyx, region, window, sampler.model.spacing_mm, lesion_zyx, whole)
    if patch:
        (lesion_box,) = ndimage.find_objects(lesion_zyx.astype(np.uint8))
        view = view.patch(lesion_box, sampler.patch_vox)
    grid = volumes.crop(given, box.start_zyx, box.stop_zyx)
    ct = _placed(generate(sampler, view, wanted.seed, f"lesion in the {region}"), view.place, grid)
    lesion = _placed(view.lesion_zyx.astype(np.uint8), view.place, grid)
    if not patch:
        ct, lesion = (
            sitk.Resample(image, given, sitk.Transform(), sitk.sitkNearestNeighbor, outside)
            for image, outside in ((ct, air_hu(window)), (lesion, 0))
        )
    return WithLesion(volumes.in_order_of(ct, own_grid), volumes.in_order_of(lesion, own_grid))


def inpaint_scan(sampler: Sampler, scan: Scan, wanted: Wanted, config: Config) -> WithLesion:
    """Return a scan with a lesion drawn into it and the lesion's mask, on the scan's own grid.

    Beyond the margin every voxel is as it was.

    Args:
        sampler: a model that was fine-tuned for lesions.
        scan: the scan.
        wanted: which lesion.
        config: for the organ's mask and the inpainting.

    Raises:
        CaseError: the lesion's mask cannot be used.
    """
    lesion_zyx = wanted.mask(scan.anatomy_zyx, scan.grid, scan.own_grid.orthogonal(), config.anomaly.closing_mm)
    place = Place((0, 0, 0), scan.hu_zyx.shape)
    shown_zyx = with_lesion(scan.anatomy_zyx, lesion_zyx)
    view = LesionView(scan.hu_zyx, shown_zyx, scan.region, scan.window, scan.spacing_mm, lesion_zyx, place)
    drawn_zyx = inpaint_lesion(sampler, view, config.lesions, wanted.seed, f"lesion in the {scan.region}")
    allowed = scan.as_mask(blend_share(lesion_zyx, config.lesions.margin_mm / scan.spacing_mm) > 0)
    changed_zyx = volumes.to_zyx(scan.with_changes(drawn_zyx))
    result_zyx = np.where(volumes.to_zyx(allowed) > 0, changed_zyx, volumes.to_zyx(scan.source))
    return WithLesion(scan.own(result_zyx), scan.as_mask(lesion_zyx))


def _placed(values_zyx: np.ndarray, place: Place, region: sitk.Image) -> sitk.Image:
    """Return voxels as an image that lies in its place of a region's grid."""
    image = sitk.GetImageFromArray(values_zyx)
    image.SetSpacing(region.GetSpacing())
    image.SetDirection(region.GetDirection())
    image.SetOrigin(region.TransformIndexToPhysicalPoint([int(v) for v in place.offset_zyx[::-1]]))
    return image
