"""Pairs of a low-dose and a normal-dose scan (Table 4): real ones where a dataset has them, else simulated.

Both scans of a pair lie on one grid, their own, so that they are scored slice by slice as they were reconstructed. What
a denoiser may know, the anatomy, is that of the noisy scan.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.label import label_anatomy
from meddiff.anatomy.segmenter import Segmenter
from meddiff.config import Config, Region
from meddiff.config.stages import settings_of
from meddiff.datasets.index import Case
from meddiff.errors import CaseError
from meddiff.machine.device import choose_device
from meddiff.machine.files import digest, read_json
from meddiff.machine.seeds import seed_of
from meddiff.machine.shards import Item, Row, run_shard, sidecar
from meddiff.store.query import where
from meddiff.store.record import Record
from meddiff.tasks.low_dose import simulate_low_dose
from meddiff.volumes import volumes
from meddiff.volumes.ct_rate import read_scan
from meddiff.volumes.geometry import Grid
from meddiff.volumes.resample import isotropic_grid, resample_ct

REGIONS = (Region.CHEST, Region.ABDOMEN)  # of Mayo 2016 (section 4.1)


@dataclass(frozen=True)
class Source:
    """What a pair is made of: a case with a low-dose scan, or a stored region for which one is simulated."""

    id: str
    case: Case
    record: Record | None = None


@dataclass(frozen=True)
class Pair:
    """A scan twice on one grid of its own, int16 HU, and what is known of the noisy one.

    Args:
        id: of the pair.
        split: train, val or test.
        region: what the dataset says of the scan; `whole_body` where that differs from scan to scan.
        noisy: the low-dose scan.
        clean: the normal-dose scan, which is the truth and nothing else.
        spacing_mm: of the model.
        labels: anatomy of the noisy scan, uint8, at the model's spacing; of test pairs alone, as no other is denoised.
    """

    id: str
    split: str
    region: Region
    noisy: sitk.Image
    clean: sitk.Image
    spacing_mm: float
    labels: sitk.Image | None = None

    @cached_property
    def grid(self) -> sitk.Image:
        """An empty image at the model's spacing, over the same space as the scans."""
        return isotropic_grid(self.noisy, self.spacing_mm)

    @cached_property
    def noisy_zyx(self) -> np.ndarray:
        return volumes.to_zyx(self.noisy)

    @cached_property
    def clean_zyx(self) -> np.ndarray:
        return volumes.to_zyx(self.clean)


def choose_sources(records: list[Record], cases: list[Case], per_split: int) -> list[Source]:
    """Return the cases with a low-dose scan; without any, a few stored regions of each split to simulate one for.

    Args:
        records: of the store.
        cases: the manifest.
        per_split: how many of each split are simulated.
    """
    if measured := [Source(case.id, case) for case in cases if case.low_dose and not case.quarantine]:
        return measured
    case_of = {(case.dataset, case.case): case for case in cases if case.role == "pretraining"}
    known = [record for record in records if (record.meta.dataset, record.meta.case) in case_of]
    chosen = []
    for split in ("train", "val", "test"):
        of_split = [record for record in where(known, split=split) if record.meta.region in REGIONS]
        chosen += sorted(of_split, key=lambda record: digest(record.id))[:per_split]
    return [Source(r.id, case_of[r.meta.dataset, r.meta.case], r) for r in chosen]


def write_pairs(sources: list[Source], resampled: list[Row], config: Config, index: Path) -> list[Row]:
    """Write the noisy and the clean scan of every source, and for the test the anatomy of the noisy one."""
    resampled_of = {row.id: row.path for row in resampled}

    def work(item: Item) -> dict[str, Any]:
        source = item.of
        if source.record:
            noisy, clean = _simulated(volumes.read_image(resampled_of[source.case.id]), source.record, config)
        else:
            noisy, clean = _measured(source.case)
        if source.case.split == "test":
            seen = resample_ct(noisy, config.data.spacing_mm)
            labels_zyx = label_anatomy(seen, segmenter, config.anatomy.body_threshold_hu)
            volumes.write_image(volumes.like(labels_zyx, seen), labels_path(item.output))
        volumes.write_image(clean, clean_path(item.output))
        volumes.write_image(noisy, item.output)
        return {
            "simulated": source.record is not None,
            "region": source.record.meta.region if source.record else source.case.region,
            "split": source.case.split,
            "spacing_mm": config.data.spacing_mm,
        }

    items = [
        Item(each.id, _inputs(each, resampled_of), index.parent / f"{each.id}.nii.gz", (each.case.split,), each)
        for each in sources
    ]
    with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
        return run_shard("low-dose", items, settings_of(config, "low_dose"), work, index)


def read_pair(row: Row) -> Pair:
    """Return one pair."""
    facts = facts_of(row)
    noisy, clean = (volumes.read_image(path) for path in (row.path, clean_path(row.path)))
    labels = volumes.read_image(labels_path(row.path)) if facts["split"] == "test" else None
    return Pair(row.id, facts["split"], Region(facts["region"]), noisy, clean, facts["spacing_mm"], labels)


def facts_of(row: Row) -> dict[str, Any]:
    """Return of a pair whether it is `simulated`, its `region`, `split` and `spacing_mm`."""
    return read_json(sidecar(row.path))["details"]


def clean_path(noisy: Path) -> Path:
    return noisy.with_name(noisy.name.replace(".nii.gz", ".clean.nii.gz"))


def labels_path(noisy: Path) -> Path:
    return noisy.with_name(noisy.name.replace(".nii.gz", ".anatomy.nii.gz"))


def _inputs(source: Source, resampled_of: dict[str, Path]) -> tuple[Path, ...]:
    if source.record:
        return source.record.path, resampled_of[source.case.id]
    return tuple(path for path in (source.case.image, source.case.low_dose) if path)


def _measured(case: Case) -> tuple[sitk.Image, sitk.Image]:
    """Return both scans of a case as they were reconstructed.

    Raises:
        CaseError: one of them is no readable CT, or they lie on different grids, so that no slice has its twin.
    """
    if case.low_dose is None:
        raise ValueError(f"{case.id} has no low-dose scan")
    noisy, clean = volumes.read_ct(case.low_dose), read_scan(case.image, case.header)
    if not Grid.of(noisy).equals(Grid.of(clean)):
        raise CaseError(
            f"the low-dose scan has {'x'.join(map(str, noisy.GetSize()))} voxels on another grid than the normal-dose "
            f"one with {'x'.join(map(str, clean.GetSize()))}"
        )
    return noisy, clean


def _simulated(resampled: sitk.Image, record: Record, config: Config) -> tuple[sitk.Image, sitk.Image]:
    """Return a stored region with less dose and as it is, on the store's grid, not clipped to any window."""
    clean = volumes.onto(resampled, record.as_image(np.zeros(record.meta.size_zyx, np.int16)))
    settings = config.low_dose
    dose = (settings.dose, settings.photons, settings.electronic_noise)
    seed = seed_of(config.seed, record.meta.id)
    noisy_zyx = simulate_low_dose(volumes.to_zyx(clean), record.meta.spacing_mm, *dose, seed)
    return volumes.like(noisy_zyx, clean), clean
