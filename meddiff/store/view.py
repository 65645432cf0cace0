"""A region of a scan as a model sees it: what every task is given."""

from dataclasses import dataclass

import numpy as np

from meddiff.config import Region, Window
from meddiff.store.record import Record


@dataclass(frozen=True)
class View:
    """A region of a scan, or a part of it, at the model's spacing.

    Args:
        hu_zyx: the scan.
        anatomy_zyx: label ids, uint8.
        region: what the scan shows.
        window: the region's HU window.
        spacing_mm: size of the voxels.
    """

    hu_zyx: np.ndarray
    anatomy_zyx: np.ndarray
    region: Region
    window: Window
    spacing_mm: float

    @classmethod
    def from_record(cls, record: Record) -> "View":
        """Return the whole of a stored region."""
        meta = record.meta
        return cls(record.ct[:], record.anatomy[:], meta.region, meta.window, meta.spacing_mm)
