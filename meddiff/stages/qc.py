"""Quality control of one shard: a picture of every case that could be read, and a line of numbers per region."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.anatomy.hu_statistics import COLUMNS, hu_statistics
from meddiff.anatomy.regions import RegionBox, read_boxes
from meddiff.config import Config
from meddiff.config.stages import settings_of
from meddiff.datasets.index import Case
from meddiff.figures.case import draw_case
from meddiff.machine.files import read_json
from meddiff.machine.shards import DONE, Item, run_shard, sidecar
from meddiff.machine.tsv import write_tsv
from meddiff.stages.prepared import Prepared
from meddiff.volumes import volumes

STATISTICS = (
    *("id", "dataset", "case", "region", "evidence", "size_zyx", "spacing_mm", "source_size_xyz", "source_spacing_mm"),
    *COLUMNS,
)


def check_shard(prepared: Prepared, cases: list[Case], config: Config, index: Path, statistics: Path) -> None:
    """Draw every resampled case, also one that a later stage refused, and write the numbers of its regions.

    Args:
        prepared: the cases.
        cases: the manifest.
        config: the sections of the stage `qc`.
        index: where the shard's table goes; the pictures go to `pictures/` beside it.
        statistics: where the table with the columns `STATISTICS` goes.
    """
    case_of = {case.id: case for case in cases}
    ct_of, labels_of, boxes_of = prepared.scans, prepared.anatomy, prepared.boxes

    def work(item: Item) -> list[dict[str, Any]]:
        ct_zyx = volumes.to_zyx(volumes.read_image(ct_of[item.id]))
        labels = labels_of.get(item.id)
        labels_zyx = volumes.to_zyx(volumes.read_image(labels)) if labels else None
        boxes = read_boxes(boxes_of[item.id]) if item.id in boxes_of else []
        draw_case(ct_zyx, labels_zyx, boxes, config.windows, item.id, item.output)
        if labels_zyx is None:
            return []
        known = _origin(case_of[item.id], read_json(sidecar(ct_of[item.id]))["details"])
        return [known | _numbers(ct_zyx, labels_zyx, box, config) for box in boxes]

    items = []
    for case_id in ct_of:
        inputs = tuple(paths[case_id] for paths in (ct_of, labels_of, boxes_of) if case_id in paths)
        items.append(Item(case_id, inputs, index.parent / "pictures" / f"{case_id}.png"))
    rows = run_shard("qc", items, settings_of(config, "qc"), work, index)
    checked = [read_json(sidecar(row.path))["details"] for row in rows if row.status == DONE]
    write_tsv([region for regions in checked for region in regions], STATISTICS, statistics)


def _origin(case: Case, source: dict[str, Any]) -> dict[str, str]:
    return {
        "id": case.id,
        "dataset": case.dataset,
        "case": case.case,
        "source_size_xyz": _by(source["source_size_xyz"]),
        "source_spacing_mm": _by(source["source_spacing_mm"]),
    }


def _numbers(ct_zyx: np.ndarray, labels_zyx: np.ndarray, box: RegionBox, config: Config) -> dict[str, Any]:
    inside = tuple(slice(a, b) for a, b in zip(box.start_zyx, box.stop_zyx, strict=True))
    spacing_mm = config.data.spacing_mm
    return {
        "region": box.region.value,
        "evidence": box.evidence,
        "size_zyx": _by(ct_zyx[inside].shape),
        "spacing_mm": f"{spacing_mm:g}",
        **hu_statistics(ct_zyx[inside], labels_zyx[inside], spacing_mm, config.windows.for_region(box.region)),
    }


def _by(lengths: Iterable[float]) -> str:
    """Return `512x512x133`, `0.7x0.7x2.5`."""
    return "x".join(f"{length:.4g}" for length in lengths)
