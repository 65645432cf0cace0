"""A whole scan as the regions that it shows, which between them have every slice."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from meddiff.anatomy.regions import RegionBox, find_region, find_regions
from meddiff.config import Region, RegionsConfig
from meddiff.errors import CaseError


@dataclass(frozen=True)
class Part:
    """A region's box in a scan, and the slices of the scan, `first` to before `last`, that are its own.

    The box may have more: those that it shares with a neighbour, as regions do in training.
    """

    box: RegionBox
    first: int
    last: int

    @property
    def own(self) -> tuple[slice, ...]:
        """The index of the part's own voxels in the scan."""
        return (slice(self.first, self.last), *self.box.slices[1:])

    @property
    def own_of_box(self) -> slice:
        """The same slices, counted from the box's first one."""
        return slice(self.first - self.box.start_zyx[0], self.last - self.box.start_zyx[0])


def split_scan(labels_zyx: np.ndarray, spacing_mm: float, region: Region, config: RegionsConfig) -> list[Part]:
    """Return the parts of a scan: one where its region is known, else one for each region that it shows.

    Choice: regions that overlap or leave a gap share those slices at the middle, and what lies beyond the outermost
    regions belongs to these; so a trunk is chest above and abdomen below, down to the thighs.

    Args:
        labels_zyx: anatomy with the body as id 118.
        spacing_mm: isotropic spacing.
        region: what is known of the scan.
        config: margins and limits.

    Raises:
        CaseError: there is no anatomy, or no complete region.
    """
    found = sorted(find_regions(labels_zyx, spacing_mm, region, config), key=lambda box: box.start_zyx[0])
    if not found:
        raise CaseError(f"no {region if region != Region.WHOLE_BODY else 'complete region'} in the scan")
    between = [(below.stop_zyx[0] + above.start_zyx[0]) // 2 for below, above in pairwise(found)]
    ends = [0, *between, len(labels_zyx)]
    parts = []
    for box, (first, last) in zip(found, pairwise(ends), strict=True):
        low, high = min(first, box.start_zyx[0]), max(last, box.stop_zyx[0])
        cut = find_region(labels_zyx[low:high], spacing_mm, box.region, config)
        wide = replace(cut, start_zyx=(low, *cut.start_zyx[1:]), stop_zyx=(high, *cut.stop_zyx[1:]))
        parts.append(Part(wide, first, last))
    return parts
