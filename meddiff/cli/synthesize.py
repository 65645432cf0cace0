"""`meddiff synthesize`: a CT for an anatomy mask; `meddiff synthesize-shard`: for the pipeline's held-out scans."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Out, StoreIndices, Threads, stage_config
from meddiff.config import MODEL_REGIONS, Region, load_config

ModelBundle = Annotated[str, typer.Option("--model", help="Folder of a model bundle, or its id on Hugging Face.")]


def synthesize(
    anatomy: Annotated[Path, typer.Option(help="Labels 0 to 118 at the model's spacing: NIfTI, NRRD or MHA.")],
    region: Annotated[Region, typer.Option(help="What the mask shows.")],
    out: Annotated[Path, typer.Option(help="CT in HU to write, e.g. ct.nii.gz.")],
    model: ModelBundle = "results/models/meddiff-fm",
    config: Annotated[
        Path | None, typer.Option(help="Configuration whose section `sampling` counts; none: the defaults.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another CT.")] = 0,
    threads: Threads = 1024,
) -> None:
    """Draw a CT with the anatomy of a mask, on its grid; after an interruption the same command goes on."""
    from meddiff.config import Config
    from meddiff.data.anatomy.masks import read_mask
    from meddiff.data.volumes import VOLUME_SUFFIXES, is_volume_file
    from meddiff.device import set_up_cpu
    from meddiff.errors import CaseError, UserError
    from meddiff.tasks.sampler import Sampler
    from meddiff.tasks.synthesis import synthesize_mask

    settings = load_config(config) if config else Config()
    if not is_volume_file(out):
        raise UserError(f"--out {out}: no name of a volume; end it with one of {', '.join(VOLUME_SUFFIXES)}")
    if region not in MODEL_REGIONS:
        raise UserError(f"--region {region}: models know {', '.join(MODEL_REGIONS)}; cut the mask to one of them")
    set_up_cpu(threads)
    sampler = Sampler(model, settings.sampling, settings.device)
    try:
        mask = read_mask(anatomy, sampler.model.spacing_mm)
    except CaseError as error:
        raise UserError(f"{anatomy}: {error}") from error
    synthesize_mask(sampler, mask, region, seed, out)


def synthesize_shard(
    config: ConfigFile,
    model: ModelBundle,
    store: StoreIndices,
    shard: Annotated[int, typer.Option(min=0, help="Which share of the scans.")],
    out: Out,
    index: IndexOut,
    threads: Threads = 1024,
) -> None:
    """Draw a whole volume for the anatomy of every held-out scan of a shard."""
    from meddiff.data.shards import done_rows
    from meddiff.device import set_up_cpu
    from meddiff.stages import params_of
    from meddiff.tasks.sampler import Sampler
    from meddiff.tasks.synthesis import held_out_rows, synthesize_records

    set_up_cpu(threads)
    settings = stage_config(config, "synthesize")
    rows = held_out_rows(done_rows(store))[shard :: settings.sampling.shards]
    sampler = Sampler(model, settings.sampling, settings.device)
    synthesize_records(sampler, rows, params_of(settings, "synthesize"), settings.seed, out, index)
