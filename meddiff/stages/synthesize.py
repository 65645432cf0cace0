"""Synthetic twins of the held-out scans, for Table 3."""

from pathlib import Path
from typing import Any

from meddiff.machine.seeds import seed_of
from meddiff.machine.shards import Item, run_shard
from meddiff.store.record import Record
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.synthesis import forget_state, synthesize
from meddiff.volumes import volumes


def synthesize_records(sampler: Sampler, records: list[Record], settings: str, seed: int, index: Path) -> None:
    """Write a synthetic twin of every given record, on its grid; records done before are skipped."""

    def work(item: Item) -> dict[str, Any]:
        record, case_seed = item.of, seed_of(seed, item.id)
        meta = record.meta
        drawing = synthesize(sampler, record.anatomy[:], meta.region, meta.window, case_seed, item.output)
        volumes.write_image(record.as_image(drawing.hu_zyx), item.output)
        forget_state(item.output)
        return {"seed": case_seed, **drawing.facts()}

    items = [Item(r.id, (r.path,), index.parent / f"{r.id}.nii.gz", (sampler.checksum,), r) for r in records]
    run_shard(f"synthesize {sampler.model.name}", items, settings, work, index)
