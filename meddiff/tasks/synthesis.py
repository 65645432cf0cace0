"""Synthesis (section 3.4): anatomy and region in, a CT of any size out."""

from pathlib import Path

import numpy as np
import torch

from meddiff.config import MODEL_REGIONS, Region, SamplingConfig, Window
from meddiff.data import volumes
from meddiff.data.shards import Item, Row, run_shard
from meddiff.data.store import Record
from meddiff.data.windows import denormalise
from meddiff.diffusion.sliding import Condition, SlidingWindows, sample_volume
from meddiff.files import digest
from meddiff.model.foundation import MedDiffFM


def synthesize(
    model: MedDiffFM, anatomy_ZYX: torch.Tensor, region: Region, window: Window, config: SamplingConfig, seed: int
) -> np.ndarray:
    """Return a synthetic CT in HU with the given anatomy, int16 `zyx`, within the region's window.

    Args:
        model: the foundation model.
        anatomy_ZYX: label ids, uint8.
        region: what the volume shows.
        window: the region's HU window.
        config: solver, steps, overlap.
        seed: of the noise.
    """
    condition = Condition(anatomy_ZYX, MODEL_REGIONS.index(region))
    windows = SlidingWindows(model.network, model.schedule(), model.diffusion.prediction, condition, config)
    volume = sample_volume(windows, config, model.diffusion.timesteps, seed, f"{model.name} {region}")
    return denormalise(volume.numpy(), window)


def synthesize_records(
    model: MedDiffFM,
    rows: list[Row],
    config: SamplingConfig,
    settings: str,
    seed: int,
    weights: Path,
    out: Path,
    index: Path,
) -> None:
    """Write a synthetic twin of every given record, on its grid; records done before are skipped."""

    records = {row.id: Record(row.path.parent) for row in rows}

    def work(item: Item) -> dict[str, int]:
        record = records[item.id]
        anatomy = torch.from_numpy(record.anatomy[:])
        case_seed = int(digest([seed, item.id]), 16) >> 1
        hu = synthesize(model, anatomy, record.meta.region, record.meta.window, config, case_seed)
        volumes.write_image(record.as_image(hu), item.output)
        return {"seed": case_seed}

    items = [Item(row.id, (row.path, weights), out / f"{row.id}.nii.gz") for row in rows]
    run_shard(f"synthesize {model.name}", items, settings, work, index)


def held_out_rows(rows: list[Row]) -> list[Row]:
    """Return the stored regions of the pretraining datasets' test split."""
    metas = ((row, Record(row.path.parent).meta) for row in rows)
    return [row for row, meta in metas if meta.role == "pretraining" and meta.split == "test"]
