"""What the regions of a store look like, which goes into the bundle of a model that is trained on them."""

from collections.abc import Iterable

from meddiff.anatomy.appearance import Appearance, KnownScans
from meddiff.config import Region
from meddiff.store.record import Record

MOST_SCANS = 50  # Choice: of a region, evenly out of all; a few seconds each


def known_regions(records: Iterable[Record]) -> dict[Region, KnownScans]:
    """Return for each region what its records look like."""
    by_region: dict[Region, list[Record]] = {}
    for record in records:
        by_region.setdefault(record.meta.region, []).append(record)
    return {
        region: KnownScans.from_scans(map(_appearance, group[:: -(-len(group) // MOST_SCANS)]))
        for region, group in sorted(by_region.items())
    }


def _appearance(record: Record) -> Appearance:
    meta = record.meta
    return Appearance.of(record.ct[:], record.anatomy[:], meta.spacing_mm, meta.window)
