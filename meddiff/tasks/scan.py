"""One scan of a user: prepared as the store's scans are, and the way back to its own grid."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.body import add_body, body_mask
from meddiff.anatomy.label import complete, label_anatomy
from meddiff.anatomy.labels import BODY
from meddiff.anatomy.masks import has_body, has_few_structures, read_mask_of
from meddiff.anatomy.numbering import MaskFile
from meddiff.anatomy.regions import find_region
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import Config, Region
from meddiff.errors import CaseError
from meddiff.machine.device import choose_device
from meddiff.model.foundation import FoundationModel
from meddiff.store.view import View
from meddiff.volumes import volumes
from meddiff.volumes.geometry import Grid, without_shear
from meddiff.volumes.resample import resample_ct

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan(View):
    """A region of a scan at the model's spacing, and the way back to the scan's own voxels.

    Args:
        source: the scan's own voxels, int16 HU, in the order of its file; sheared if the gantry was tilted.
        own_grid: where the file says that they lie; `source` has it without what is rounding of perpendicular axes.
        grid: where the region lies: the image that `hu_zyx` was taken from.
    """

    source: sitk.Image
    own_grid: Grid
    grid: sitk.Image

    def with_changes(self, hu_zyx: np.ndarray) -> sitk.Image:
        """Return the scan's own voxels with what was changed in its region, int16 HU.

        Choice: the change is brought to the source's grid and added, so that a scan of finer voxels than the model's
        keeps its detail, and a tilted one is not interpolated twice; with the same voxels the result is the given one.
        """
        change = volumes.like((hu_zyx - self.hu_zyx.astype(np.int32)).astype(np.float32), self.grid)
        changed = volumes.to_zyx(self.source) + volumes.to_zyx(onto_source(change, self.source))
        return self.own(np.clip(np.rint(changed), volumes.AIR_HU, 32767).astype(np.int16))

    def as_map(self, values_zyx: np.ndarray) -> sitk.Image:
        """Return float values of the region's voxels for the scan's own, 0 elsewhere."""
        values = volumes.like(values_zyx.astype(np.float32), self.grid)
        return self.own(volumes.to_zyx(onto_source(values, self.source)))

    def as_mask(self, mask_zyx: np.ndarray) -> sitk.Image:
        """Return a mask of the region's voxels, 0 or 1, uint8, for the scan's own."""
        mask = volumes.like(mask_zyx.astype(np.uint8), self.grid)
        mask = sitk.Resample(mask, self.source, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        return self.own(volumes.to_zyx(mask))

    def own(self, values_zyx: np.ndarray) -> sitk.Image:
        """Return values of the scan's own voxels as an image that lies, to the last digit, where its file does."""
        return self.own_grid.put_on(sitk.GetImageFromArray(values_zyx))


def onto_source(image: sitk.Image, source: sitk.Image) -> sitk.Image:
    """Return values on the grid of a scan, float32, linear interpolation, 0 where they do not reach."""
    return sitk.Resample(image, source, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def read_scan(path: Path, region: Region, anatomy: MaskFile | None, model: FoundationModel, config: Config) -> Scan:
    """Read and prepare a scan; without an anatomy mask, TotalSegmentator makes one.

    Args:
        path: NIfTI, NRRD or MHA file, or DICOM folder.
        region: the part of the scan to work on.
        anatomy: see `read_anatomy`.
        model: gives spacing and window.
        config: for anatomy and region.

    Raises:
        CaseError: no readable CT, a mask of another geometry or with other labels, no body.
    """
    acquired = volumes.read_acquired(path, config.data.allow_missing_slices)
    own_grid, upright = Grid.of(acquired), volumes.put_upright(acquired)
    resampled = resample_ct(upright, model.spacing_mm)
    labels_zyx = read_anatomy(anatomy, upright, resampled, config)
    box = find_region(labels_zyx, model.spacing_mm, region, config.regions)
    grid = volumes.crop(resampled, box.start_zyx, box.stop_zyx)
    source = acquired if own_grid.is_sheared() else without_shear(acquired, volumes.AIR_HU)
    view = View(
        volumes.to_zyx(grid), labels_zyx[box.slices], region, model.windows.for_region(region), model.spacing_mm
    )
    return Scan(**vars(view), source=source, own_grid=own_grid, grid=grid)


def label_scan(path: Path, anatomy: MaskFile | None, config: Config) -> sitk.Image:
    """Return the anatomy of a scan on its own voxels, uint8: what a model is shown, before it is cut to a region.

    Args:
        path: NIfTI, NRRD or MHA file, or DICOM folder.
        anatomy: see `read_anatomy`.
        config: for the spacing at which labels are made, and for anatomy.

    Raises:
        CaseError: no readable CT, or a mask that is not of this scan.
    """
    acquired = volumes.read_acquired(path, config.data.allow_missing_slices)
    upright = volumes.put_upright(acquired)
    ct = resample_ct(upright, config.data.spacing_mm)
    labels = volumes.like(read_anatomy(anatomy, upright, ct, config), ct)
    return sitk.Resample(labels, acquired, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def read_anatomy(file: MaskFile | None, scan: sitk.Image, ct: sitk.Image, config: Config) -> np.ndarray:
    """Return the label ids of a scan, uint8 `zyx`: of a mask, of TotalSegmentator, or of both.

    Args:
        file: the mask, if there is one; where it has a few structures only, TotalSegmentator labels the rest.
        scan: in LPS; see `volumes.read_ct`.
        ct: the scan on the grid where the labels are wanted.
        config: for anatomy.

    Raises:
        CaseError: a mask that cannot be that of the scan, or one with other labels.
        UserError: TotalSegmentator is needed, and its weights are not here.
    """
    threshold_hu, given_zyx = config.anatomy.body_threshold_hu, None
    if file:
        body_zyx = body_mask(volumes.to_zyx(ct), ct.GetSpacing()[0], threshold_hu)
        try:
            given_zyx = read_mask_of(file, Grid.of(scan), ct, body_zyx)
        except CaseError as error:
            raise CaseError(f"with the mask {file.path}: {error}") from error
        if has_body(given_zyx):
            return given_zyx
        if not has_few_structures(given_zyx):
            log.info("the mask has no label %d, the rest of the body: it is what is above %g HU", BODY, threshold_hu)
            return add_body(given_zyx, body_zyx)
        log.info("the mask has a few structures and no label %d: TotalSegmentator labels the rest", BODY)
    log.info("TotalSegmentator labels the scan with its %s weights", config.anatomy.weights)
    with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
        labels_zyx = label_anatomy(ct, segmenter, threshold_hu)
    return labels_zyx if given_zyx is None else complete(given_zyx, labels_zyx)
