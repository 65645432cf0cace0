"""`segment`: let TotalSegmentator judge synthetic or real scans."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, StoreIndices, stage_config


def segment(
    config: ConfigFile,
    store: StoreIndices,
    index: IndexOut,
    synthetic: Annotated[list[Path] | None, typer.Option(help="Indices of synthetic scans; none: the scans.")] = None,
) -> None:
    """Segment the synthetic twins of the held-out scans, or the scans themselves, with TotalSegmentator."""
    from meddiff.machine.shards import done_rows
    from meddiff.stages.segment import segment_real, segment_synthetic
    from meddiff.store.query import held_out, open_store

    settings = stage_config(config, "segment")
    if synthetic:
        segment_synthetic(done_rows(synthetic), settings, index)
    else:
        segment_real(held_out(open_store(store)), settings, index)
