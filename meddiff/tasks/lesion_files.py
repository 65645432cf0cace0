"""Lesions for one file of a user: masks read or drawn, results on their own grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from meddiff.anatomy.drawn_lesions import draw_lesion
from meddiff.anatomy.masks import read_mask
from meddiff.anatomy.numbering import MaskFile
from meddiff.anatomy.regions import find_region
from meddiff.config import Config, Organ, Region
from meddiff.diffusion.sliding import Place
from meddiff.errors import CaseError, UserError
from meddiff.tasks.anomaly import organ_mask
from meddiff.tasks.fit import tell_misfits
from meddiff.tasks.lesions import LesionView, blend_share, generate, inpaint_lesion
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.scan import read_scan
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


def generate_for_file(
    sampler: Sampler, anatomy: MaskFile, region: Region, wanted: Wanted, config: Config, patch: bool = False
) -> WithLesion:
    """Return a synthetic CT with a lesion, on the grid of the anatomy or of the patch around the lesion.

    What is drawn is the box of the region; around it is air.

    Raises:
        CaseError: a mask cannot be used.
    """
    own = read_mask(anatomy, sampler.model.spacing_mm)
    given = sitk.DICOMOrient(own, "LPS")
    labels_zyx, window = volumes.to_zyx(given), sampler.model.windows.of(region)
    lesion_zyx = wanted.mask(labels_zyx, given, Grid.of(own).orthogonal(), config.anomaly.closing_mm)
    box = find_region(labels_zyx, sampler.model.spacing_mm, region, config.regions)
    labels_zyx, lesion_zyx = labels_zyx[box.slices], lesion_zyx[box.slices]
    air_zyx = np.full(labels_zyx.shape, air_hu(window), np.int16)
    whole = Place((0, 0, 0), labels_zyx.shape)
    view = LesionView(air_zyx, labels_zyx, region, window, sampler.model.spacing_mm, lesion_zyx, whole)
    if patch:
        (lesion_box,) = ndimage.find_objects(lesion_zyx.astype(np.uint8))
        view = view.patch(lesion_box, sampler.patch_vox)
    grid = volumes.crop(given, box.start_zyx, box.stop_zyx)
    ct = _placed(generate(sampler, view, wanted.seed, f"lesion in the {region}"), view.place, grid)
    mask = _placed(view.lesion_zyx.astype(np.uint8), view.place, grid)
    if not patch:
        ct, mask = (
            sitk.Resample(image, given, sitk.Transform(), sitk.sitkNearestNeighbor, outside)
            for image, outside in ((ct, air_hu(window)), (mask, 0))
        )
    return WithLesion(*(volumes.in_order_of(image, Grid.of(own)) for image in (ct, mask)))


def inpaint_file(
    sampler: Sampler, path: Path, region: Region, anatomy: MaskFile | None, wanted: Wanted, config: Config
) -> WithLesion:
    """Return a scan with a lesion drawn into it, on its own grid; beyond the margin every voxel is as it was.

    Raises:
        CaseError: the scan or a mask cannot be used.
    """
    scan = read_scan(path, region, anatomy, sampler.model, config)
    tell_misfits(scan)
    lesion_zyx = wanted.mask(scan.anatomy_zyx, scan.grid, scan.own_grid.orthogonal(), config.anomaly.closing_mm)
    place = Place((0, 0, 0), scan.hu_zyx.shape)
    view = LesionView(scan.hu_zyx, scan.anatomy_zyx, region, scan.window, scan.spacing_mm, lesion_zyx, place)
    drawn_zyx = inpaint_lesion(sampler, view, config.lesions, wanted.seed, f"lesion in the {region}")
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
