"""A shard's regions as records of the crop store (section 4.1)."""

import math
from pathlib import Path
from typing import Any

from meddiff.config import Config, Region
from meddiff.config.stages import settings_of
from meddiff.datasets.index import Case, check_present
from meddiff.machine.files import read_json
from meddiff.machine.shards import Item, MemoryBudget, run_shard, sidecar
from meddiff.stages.memory import PROGRAM_MB, STORING_BYTES_PER_VOXEL, volume_header
from meddiff.stages.prepared import Prepared
from meddiff.volumes import volumes


def store(
    prepared: Prepared,
    cases: list[Case],
    config: Config,
    index: Path,
    threads: int = 1,
    memory_mb: float = math.inf,
) -> None:
    """Write one record of the crop store for every region of every case; `threads` and `memory_mb` as in `resample`."""
    from meddiff.anatomy.misplaced import replace_misplaced
    from meddiff.store.lesion_patches import lesion_boxes
    from meddiff.store.record import RecordMeta, write_record
    from meddiff.volumes.lesion_labels import read_lesion

    check_present(cases, "lesion")
    case_of = {case.id: case for case in cases}
    ct_of, labels_of = prepared.scans, prepared.anatomy
    boxes = {f"{id}_{box['region']}": (id, box) for id, path in prepared.boxes.items() for box in read_json(path)}
    inputs = {id: (ct_of[id], labels_of[id], path) for id, path in prepared.boxes.items()}

    budget = MemoryBudget((memory_mb - PROGRAM_MB) * 1e6)

    def work(item: Item) -> dict[str, Any]:
        header = volume_header(ct_of[boxes[item.id][0]])
        with budget.hold(STORING_BYTES_PER_VOXEL * header[0] if header else 0):
            return write(item)

    def write(item: Item) -> dict[str, Any]:
        case_id, box = boxes[item.id]
        case, region = case_of[case_id], Region(box["region"])
        corner, end = box["start_zyx"], box["stop_zyx"]
        ct, labels = (volumes.crop(volumes.read_image(path[case_id]), corner, end) for path in (ct_of, labels_of))
        meta = RecordMeta(
            id=item.id,
            dataset=case.dataset,
            case=case.case,
            region=region,
            role=case.role,
            split=case.split,
            spacing_mm=config.data.spacing_mm,
            origin_mm=ct.GetOrigin(),
            size_zyx=ct.GetSize()[::-1],
            window=config.windows.for_region(region),
            anatomy_weights=read_json(sidecar(labels_of[case_id]))["details"]["weights"],
            lesion_organ=case.lesion_organ,
        )
        label = (case.lesion_values, case.image, ct, case.lesion_on_scan_grid, case.lesion_hu)
        lesion = read_lesion(case.lesion, *label) if case.lesion else None
        labels_zyx = replace_misplaced(volumes.to_zyx(labels), region, meta.anatomy_weights)
        write_record(item.output.parent, meta, volumes.to_zyx(ct), labels_zyx, config.model.patch_vox, lesion)
        count = 0 if lesion is None else len(lesion_boxes(lesion))
        return {"region": region, "evidence": box["evidence"], "lesions": count}

    facts = {
        case.id: (
            case.role,
            case.split,
            *map(str, case.lesion_values),
            str(case.lesion_on_scan_grid),
            case.lesion_organ or "",
            *map(str, case.lesion_hu),
        )
        for case in cases
    }
    lesions = {case.id: (case.lesion,) if case.lesion else () for case in cases}
    items = [
        Item(name, (*inputs[case_id], *lesions[case_id]), index.parent / name / "meta.json", facts[case_id])
        for name, (case_id, _) in boxes.items()
    ]
    run_shard("store", items, settings_of(config, "store"), work, index, threads)
