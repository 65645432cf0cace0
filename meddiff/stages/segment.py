"""TotalSegmentator as the judge of synthetic scans, and of the real ones as its ceiling (section 4.1)."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import SimpleITK as sitk

from meddiff.anatomy.misplaced import replace_misplaced
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import Config, Region
from meddiff.config.stages import settings_of
from meddiff.machine.device import choose_device
from meddiff.machine.shards import Item, Row, run_shard
from meddiff.store.record import Record
from meddiff.volumes import volumes

Scan = TypeVar("Scan", Row, Record)


def segment_synthetic(rows: list[Row], config: Config, index: Path) -> None:
    """Write the judge's labels of synthetic volumes; `rows` are their index."""
    _segment(rows, lambda row: volumes.read_image(row.path), config, index)


def segment_real(records: list[Record], config: Config, index: Path) -> None:
    """Write the judge's labels of stored regions, which are windowed as the synthetic ones are."""
    _segment(records, lambda record: record.as_image(record.ct[:]), config, index)


def _region(record: str) -> Region:
    """Return the region of a record, with which its id ends."""
    return Region(record.rsplit("_", 1)[1])


def _segment(scans: list[Scan], read: Callable[[Scan], sitk.Image], config: Config, index: Path) -> None:
    def work(item: Item) -> dict[str, str]:
        image = read(item.of)
        labels_zyx = replace_misplaced(segmenter.segment(image), _region(item.id), config.anatomy.weights)
        volumes.write_image(volumes.like(labels_zyx, image), item.output)
        return {"weights": config.anatomy.weights}

    items = [Item(scan.id, (scan.path,), index.parent / f"{scan.id}.nii.gz", of=scan) for scan in scans]
    with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
        run_shard("segment", items, settings_of(config, "segment"), work, index)
