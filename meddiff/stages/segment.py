"""TotalSegmentator as the judge of synthetic scans, and of the real ones as its ceiling (section 4.1)."""

from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk

from meddiff.anatomy.misplaced import replace_misplaced
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import Config, Region
from meddiff.config.stages import settings_of
from meddiff.machine.device import choose_device
from meddiff.machine.shards import Item, Row, run_shard
from meddiff.store.record import Record
from meddiff.volumes import volumes


def segment_synthetic(rows: list[Row], config: Config, out: Path, index: Path) -> None:
    """Write the judge's labels of synthetic volumes; `rows` are their index."""
    _segment(rows, lambda row: volumes.read_image(row.path), config, out, index)


def segment_real(rows: list[Row], config: Config, out: Path, index: Path) -> None:
    """Write the judge's labels of stored regions, which are windowed as the synthetic ones are."""

    def read(row: Row) -> sitk.Image:
        record = Record(row.path.parent)
        return record.as_image(record.ct[:])

    _segment(rows, read, config, out, index)


def _region(record: str) -> Region:
    """Return the region of a record, with which its id ends."""
    return Region(record.rsplit("_", 1)[1])


def _segment(rows: list[Row], read: Callable[[Row], sitk.Image], config: Config, out: Path, index: Path) -> None:
    row_of = {row.id: row for row in rows}

    def work(item: Item) -> dict[str, str]:
        image = read(row_of[item.id])
        labels_zyx = replace_misplaced(segmenter.segment(image), _region(item.id), config.anatomy.weights)
        volumes.write_image(volumes.like(labels_zyx, image), item.output)
        return {"weights": config.anatomy.weights}

    items = [Item(row.id, (row.path,), out / f"{row.id}.nii.gz") for row in rows]
    with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
        run_shard("segment", items, settings_of(config, "segment"), work, index)
