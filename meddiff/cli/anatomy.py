"""`meddiff anatomy`: segment a shard's scans."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Out, stage_config


def anatomy(
    config: ConfigFile,
    resampled: Annotated[Path, typer.Option(help="Index of the shard's resampled scans.")],
    out: Out,
    index: IndexOut,
) -> None:
    """Segment a shard's scans with TotalSegmentator and add the body as the 118th class."""
    from meddiff.machine.shards import done_rows
    from meddiff.stages import prepare

    prepare.anatomy(done_rows([resampled]), stage_config(config, "anatomy"), out, index)
