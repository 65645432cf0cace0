"""Pairs of a low-dose and a normal-dose scan (Table 4): real ones where a dataset has them, else simulated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.config import Config, Region
from meddiff.data import volumes
from meddiff.data.index import Case
from meddiff.data.low_dose import simulate_low_dose
from meddiff.data.resample import resample_ct
from meddiff.data.shards import Item, Row, run_shard, sidecar
from meddiff.data.store import Record
from meddiff.files import digest, read_json
from meddiff.seeds import seed_of
from meddiff.stages import settings_of

REGIONS = (Region.CHEST, Region.ABDOMEN)  # of Mayo 2016 (section 4.1)


@dataclass(frozen=True)
class Pair:
    """A stored region twice, int16 HU not clipped to any window, on the record's grid."""

    record: Record
    noisy_zyx: np.ndarray
    clean_zyx: np.ndarray


def choose_records(rows: list[Row], cases: list[Case], per_split: int) -> list[tuple[Row, Case]]:
    """Return the regions to pair: those of cases with a low-dose scan, or a few of each split to simulate one for.

    Args:
        rows: of the store.
        cases: the manifest.
        per_split: how many of each split are simulated.
    """
    case_of = {(case.dataset, case.case): case for case in cases}
    metas = [(row, Record(row.path.parent).meta) for row in rows]
    known = [(row, case_of[meta.dataset, meta.case]) for row, meta in metas if meta.region in REGIONS]
    if measured := [(row, case) for row, case in known if case.low_dose]:
        return measured
    chosen = []
    for split in ("train", "val", "test"):
        of_split = [pair for pair in known if pair[1].split == split and pair[1].role == "pretraining"]
        chosen += sorted(of_split, key=lambda pair: digest(pair[0].id))[:per_split]
    return chosen


def write_pairs(
    chosen: list[tuple[Row, Case]], resampled: list[Row], config: Config, out: Path, index: Path
) -> list[Row]:
    """Write the noisy and the clean scan of every chosen region."""
    case_of = {row.id: case for row, case in chosen}
    records = {row.id: Record(row.path.parent) for row, _ in chosen}
    resampled_of = {row.id: row.path for row in resampled}
    settings = config.low_dose

    def work(item: Item) -> dict[str, Any]:
        record, case = records[item.id], case_of[item.id]
        grid = record.as_image(np.zeros(record.meta.size_zyx, np.int16))
        clean = volumes.onto(volumes.read_image(resampled_of[case.id]), grid)
        if case.low_dose:
            noisy = volumes.onto(resample_ct(volumes.read_ct(case.low_dose), record.meta.spacing_mm), grid)
        else:
            seed = seed_of(config.seed, item.id)
            dose = (settings.dose, settings.photons, settings.electronic_noise)
            noisy_zyx = simulate_low_dose(volumes.to_zyx(clean), record.meta.spacing_mm, *dose, seed)
            noisy = volumes.like(noisy_zyx, clean)
        volumes.write_image(clean, _clean_path(item.output))
        volumes.write_image(noisy, item.output)
        return {"simulated": case.low_dose is None}

    items = [
        Item(
            row.id,
            (row.path, resampled_of[case.id], *((case.low_dose,) if case.low_dose else ())),
            out / f"{row.id}.nii.gz",
        )
        for row, case in chosen
    ]
    return run_shard("low-dose", items, settings_of(config, "low-dose"), work, index)


def read_pair(row: Row, store: dict[str, Path]) -> Pair:
    """Return one pair; `store` gives the record's folder by id."""
    noisy, clean = (volumes.to_zyx(volumes.read_image(path)) for path in (row.path, _clean_path(row.path)))
    return Pair(Record(store[row.id]), noisy, clean)


def is_simulated(row: Row) -> bool:
    return read_json(sidecar(row.path))["details"]["simulated"]


def _clean_path(noisy: Path) -> Path:
    return noisy.with_name(noisy.name.replace(".nii.gz", ".clean.nii.gz"))
