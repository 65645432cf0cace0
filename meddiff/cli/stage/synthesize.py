"""`synthesize`: whole volumes for the anatomy of the held-out scans."""

from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, ModelBundle, StoreIndices, Threads, stage_config


def synthesize(
    config: ConfigFile,
    model: ModelBundle,
    store: StoreIndices,
    shard: Annotated[int, typer.Option(min=0, help="Which share of the scans.")],
    index: IndexOut,
    threads: Threads = None,
) -> None:
    """Draw a whole volume for the anatomy of every held-out scan of a shard."""
    from meddiff.config.stages import settings_of
    from meddiff.machine.device import set_up_cpu
    from meddiff.stages.synthesize import synthesize_records
    from meddiff.store.query import held_out, open_store
    from meddiff.tasks.sampler import Sampler

    set_up_cpu(threads)
    settings = stage_config(config, "synthesize")
    records = held_out(open_store(store))[shard :: settings.machine.sampling_shards]
    sampler = Sampler(model, settings.sampling, settings.machine)
    synthesize_records(sampler, records, settings_of(settings, "synthesize"), settings.seed, index)
