"""`meddiff synthesize`: draw synthetic twins of the held-out scans."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Out, StoreIndices, Threads, stage_config


def synthesize(
    config: ConfigFile,
    model: Annotated[Path, typer.Option(help="Folder of a model bundle.")],
    store: StoreIndices,
    shard: Annotated[int, typer.Option(min=0, help="Which share of the scans.")],
    out: Out,
    index: IndexOut,
    threads: Threads = 1024,
) -> None:
    """Synthesize a whole volume for the anatomy of every held-out scan of a shard."""
    import torch

    from meddiff.data.shards import done_rows
    from meddiff.device import choose_device, set_up_cpu
    from meddiff.model.foundation import WEIGHTS, MedDiffFM
    from meddiff.stages import params_of
    from meddiff.tasks.synthesis import held_out_rows, synthesize_records

    set_up_cpu(threads)
    settings = stage_config(config, "synthesize")
    rows = held_out_rows(done_rows(store))[shard :: settings.sampling.shards]
    precision = torch.bfloat16 if settings.sampling.bfloat16 else torch.float32
    loaded = MedDiffFM.from_pretrained(model, choose_device(settings.device), precision)
    synthesize_records(
        loaded, rows, settings.sampling, params_of(settings, "synthesize"), settings.seed, model / WEIGHTS, out, index
    )
