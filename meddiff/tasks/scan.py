"""One scan of a user: prepared as the store's scans are, and the way back to its own grid."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.label import label_anatomy
from meddiff.anatomy.masks import read_mask_of
from meddiff.anatomy.regions import find_region
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import Config, Region, Window
from meddiff.errors import CaseError
from meddiff.machine.device import choose_device
from meddiff.model.foundation import MedDiffFM
from meddiff.volumes import volumes
from meddiff.volumes.resample import isotropic_grid, resample_ct


@dataclass(frozen=True)
class Scan:
    """A scan and its region at the model's spacing.

    Args:
        source: the scan as it was read: LPS, its own grid, int16 HU.
        grid: where the region lies: the image that `hu_zyx` was taken from.
        hu_zyx: the region's voxels.
        anatomy_zyx: their label ids, uint8.
        region: what it shows.
        window: the region's HU window.
    """

    source: sitk.Image
    grid: sitk.Image
    hu_zyx: np.ndarray
    anatomy_zyx: np.ndarray
    region: Region
    window: Window

    @property
    def spacing_mm(self) -> float:
        return self.grid.GetSpacing()[0]

    def with_changes(self, hu_zyx: np.ndarray) -> sitk.Image:
        """Return the source with what was changed in its region, int16 HU on its own grid.

        Choice: the change is brought to the source's grid and added, so that a scan of finer voxels than the model's
        keeps its detail; with the same voxels the result is the given one.
        """
        change = volumes.like((hu_zyx - self.hu_zyx.astype(np.int32)).astype(np.float32), self.grid)
        changed = volumes.to_zyx(self.source) + volumes.to_zyx(onto_source(change, self.source))
        return volumes.like(np.clip(np.rint(changed), volumes.AIR_HU, 32767).astype(np.int16), self.source)

    def as_map(self, values_zyx: np.ndarray) -> sitk.Image:
        """Return float values of the region's voxels on the source's grid, 0 elsewhere."""
        return onto_source(volumes.like(values_zyx.astype(np.float32), self.grid), self.source)


def onto_source(image: sitk.Image, source: sitk.Image) -> sitk.Image:
    """Return values on the grid of a scan, float32, linear interpolation, 0 where they do not reach."""
    return sitk.Resample(image, source, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def read_scan(path: Path, region: Region, anatomy: Path | None, model: MedDiffFM, config: Config) -> Scan:
    """Read and prepare a scan; without an anatomy mask, TotalSegmentator makes one.

    Args:
        path: NIfTI, NRRD or MHA file, or DICOM folder.
        region: the part of the scan to work on.
        anatomy: label map on the scan's grid; its ids are TotalSegmentator's and 118 for the body.
        model: gives spacing and window.
        config: for anatomy and region.

    Raises:
        CaseError: no readable CT, a mask of another geometry or with other labels, no body.
    """
    source = volumes.read_ct(path, allow_missing=config.data.allow_missing_slices)
    resampled = resample_ct(source, model.spacing_mm)
    if anatomy:
        grid = isotropic_grid(source, model.spacing_mm)
        mask = _named(anatomy, source)
        labels_zyx = volumes.to_zyx(sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    else:
        with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
            labels_zyx = label_anatomy(resampled, segmenter, config.anatomy.body_threshold_hu)
    box = find_region(labels_zyx, model.spacing_mm, region, config.regions)
    grid = volumes.crop(resampled, box.start_zyx, box.stop_zyx)
    return Scan(source, grid, volumes.to_zyx(grid), labels_zyx[box.slices], region, model.windows.of(region))


def _named(anatomy: Path, source: sitk.Image) -> sitk.Image:
    try:
        return read_mask_of(anatomy, source)
    except CaseError as error:
        raise CaseError(f"with the mask {anatomy}: {error}") from error
