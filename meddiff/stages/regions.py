"""Where head and neck, chest and abdomen lie in a shard's scans (section 4.1)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from meddiff.config import Config
from meddiff.config.stages import settings_of
from meddiff.datasets.index import Case
from meddiff.errors import CaseError
from meddiff.machine.files import write_json
from meddiff.machine.shards import Item, Row, run_shard
from meddiff.volumes import volumes


def regions(segmented: list[Row], cases: list[Case], config: Config, index: Path) -> None:
    """Write the boxes of the regions of every case."""
    from meddiff.anatomy.regions import find_regions

    known = {case.id: case.region for case in cases}

    def work(item: Item) -> dict[str, Any]:
        labels_zyx = volumes.to_zyx(volumes.read_image(item.of.path))
        boxes = find_regions(labels_zyx, config.data.spacing_mm, known[item.id], config.regions)
        if not boxes:
            raise CaseError("no complete head and neck, chest or abdomen in this scan")
        write_json([asdict(box) for box in boxes], item.output)
        return {"regions": [box.region for box in boxes]}

    items = [Item(row.id, (row.path,), index.parent / f"{row.id}.json", (known[row.id],), row) for row in segmented]
    run_shard("regions", items, settings_of(config, "regions"), work, index)
