"""The four preparation stages (section 4.1) for one shard of cases: resample, anatomy, regions, store.

Memory of `resample` and `store`: 0.5 GB for the program and, for all cases in work together, the larger of what they
may take and of what the largest needs. A scan of N voxels that are b bytes on disk and become M at the new spacing
needs max((2 b + 3) N, 2 N + 6 M) bytes to be resampled, and 20 M to be stored.
"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.config import Config, Region
from meddiff.config.stages import settings_of
from meddiff.datasets.index import Case, check_present
from meddiff.errors import CaseError
from meddiff.machine.files import read_json, write_json
from meddiff.machine.shards import Item, MemoryBudget, Row, run_shard, sidecar
from meddiff.volumes import volumes
from meddiff.volumes.nifti import is_nifti, read_nifti_header

PROGRAM_MB, STORING_BYTES_PER_VOXEL = 500, 20


def resample(
    cases: list[Case], config: Config, out: Path, index: Path, threads: int = 1, memory_mb: float = math.inf
) -> None:
    """Write every case at the isotropic spacing; what is no readable CT is quarantined here.

    Args:
        cases: of the shard.
        config: the stage's.
        out: folder of the volumes.
        index: the shard's table.
        threads: cases that are worked on at the same time.
        memory_mb: what the program may take; a case that needs more is worked on alone.
    """
    from meddiff.volumes.ct_rate import read_scan
    from meddiff.volumes.resample import resample_ct

    check_present(cases, "image")
    case_of = {case.id: case for case in cases}
    budget = MemoryBudget((memory_mb - PROGRAM_MB) * 1e6)

    def work(item: Item) -> dict[str, Any]:
        case = case_of[item.id]
        if case.quarantine:
            raise CaseError(case.quarantine)
        with budget.hold(resampling_bytes(case.image, config.data.spacing_mm)):
            source = read_scan(case.image, case.header, config.data.min_extent_mm, config.data.allow_missing_slices)
            result = resample_ct(source, config.data.spacing_mm)
            volumes.write_image(result, item.output)
        return {"source_spacing_mm": source.GetSpacing(), "source_size_xyz": source.GetSize()}

    allowed = ("slices may be missing",) if config.data.allow_missing_slices else ()
    items = [
        Item(case.id, (case.image,), out / f"{case.id}.nii.gz", (case.header, case.quarantine, *allowed))
        for case in cases
    ]
    run_shard("resample", items, settings_of(config, "resample"), work, index, threads)


def resampling_bytes(path: Path, spacing_mm: float) -> float:
    """Return the most memory that reading and resampling a scan takes, by its header; 0 if that cannot be read."""
    header = volume_header(path)
    if header is None:
        return 0
    voxels, voxel_bytes, volume_mm3 = header
    return max((2 * voxel_bytes + 3) * voxels, 2 * voxels + 6 * volume_mm3 / spacing_mm**3)


def volume_header(path: Path) -> tuple[int, int, float] | None:
    """Return how many voxels a volume has, the bytes of each, and the space that they fill in mm^3."""
    if is_nifti(path):
        try:
            header = read_nifti_header(path)
        except (OSError, CaseError):
            return None
        voxels = math.prod(header.get_data_shape())
        voxel_bytes = max(header.get_data_dtype().itemsize, 2)  # with a slope, one byte becomes four
        return voxels, voxel_bytes, float(voxels * math.prod(header.get_zooms()[:3]))
    reader = sitk.ImageFileReader()
    try:
        files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        reader.SetFileName(str(files[len(files) // 2]))
        reader.ReadImageInformation()
    except (OSError, RuntimeError, IndexError):
        return None
    voxels = math.prod(reader.GetSize()) * len(files)
    voxel_bytes = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    return voxels, voxel_bytes, voxels * math.prod(reader.GetSpacing())


def anatomy(resampled: list[Row], config: Config, out: Path, index: Path) -> None:
    """Write TotalSegmentator's labels with the body of every resampled case."""
    from meddiff.anatomy.label import label_anatomy
    from meddiff.anatomy.segmenter import Segmenter
    from meddiff.machine.device import choose_device

    def work(item: Item) -> dict[str, Any]:
        ct = volumes.read_image(item.of.path)
        labels_zyx = label_anatomy(ct, segmenter, config.anatomy.body_threshold_hu)
        volumes.write_image(volumes.like(labels_zyx, ct), item.output)
        return {"weights": config.anatomy.weights, "classes": len(np.unique(labels_zyx)) - 1}

    items = [Item(row.id, (row.path,), out / f"{row.id}.nii.gz", of=row) for row in resampled]
    with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
        run_shard("anatomy", items, settings_of(config, "anatomy"), work, index)


def regions(segmented: list[Row], cases: list[Case], config: Config, out: Path, index: Path) -> None:
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

    items = [Item(row.id, (row.path,), out / f"{row.id}.json", (known[row.id],), row) for row in segmented]
    run_shard("regions", items, settings_of(config, "regions"), work, index)


def store(
    resampled: list[Row],
    segmented: list[Row],
    boxed: list[Row],
    cases: list[Case],
    config: Config,
    out: Path,
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
    ct_of, labels_of = {row.id: row.path for row in resampled}, {row.id: row.path for row in segmented}
    boxes = {f"{row.id}_{box['region']}": (row.id, box) for row in boxed for box in read_json(row.path)}
    inputs = {row.id: (ct_of[row.id], labels_of[row.id], row.path) for row in boxed}

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
            window=config.windows.of(region),
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
        Item(name, (*inputs[case_id], *lesions[case_id]), out / name / "meta.json", facts[case_id])
        for name, (case_id, _) in boxes.items()
    ]
    run_shard("store", items, settings_of(config, "store"), work, index, threads)
