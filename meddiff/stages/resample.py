"""A shard's scans at one isotropic spacing (section 4.1)."""

import math
from pathlib import Path
from typing import Any

from meddiff.config import Config
from meddiff.config.stages import settings_of
from meddiff.datasets.index import Case, check_present
from meddiff.errors import CaseError
from meddiff.machine.shards import Item, MemoryBudget, run_shard
from meddiff.stages.memory import PROGRAM_MB, resampling_bytes
from meddiff.volumes import volumes


def resample(cases: list[Case], config: Config, index: Path, threads: int = 1, memory_mb: float = math.inf) -> None:
    """Write every case at the isotropic spacing; what is no readable CT is quarantined here.

    Args:
        cases: of the shard.
        config: the stage's.
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
        Item(case.id, (case.image,), index.parent / f"{case.id}.nii.gz", (case.header, case.quarantine, *allowed))
        for case in cases
    ]
    run_shard("resample", items, settings_of(config, "resample"), work, index, threads)
