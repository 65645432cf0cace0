"""`anatomy_weights` and `anatomy`: what segments a shard's scans, and their anatomy."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Out, stage_config


def anatomy_weights(config: ConfigFile, out: Out) -> None:
    """Bring TotalSegmentator's weights once for all jobs that segment, and write what they are."""
    from meddiff.stages.anatomy import bring_weights

    bring_weights(stage_config(config, "anatomy_weights").anatomy, out)


def anatomy(
    config: ConfigFile,
    resampled: Annotated[Path, typer.Option(help="Index of the shard's resampled scans.")],
    index: IndexOut,
) -> None:
    """Segment a shard's scans with TotalSegmentator and add the body as the 118th class."""
    from meddiff.machine.shards import done_rows
    from meddiff.stages.anatomy import anatomy as run

    run(done_rows([resampled]), stage_config(config, "anatomy"), index)
