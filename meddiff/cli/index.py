"""`meddiff index`: find the cases."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, Out, stage_config


def index(
    config: ConfigFile,
    out: Out,
    raw: Annotated[Path, typer.Option(help="Folder of demo and phantom data.")] = Path("results/data/raw"),
) -> None:
    """Find the cases of all configured datasets and write the manifest: image, region, split, shard."""
    from meddiff.data.index import find_cases, write_manifest

    settings = stage_config(config, "index")
    cases = find_cases(settings.data, raw, settings.seed)
    write_manifest(cases, out)
    for dataset in dict.fromkeys(case.dataset for case in cases):
        typer.echo(f"{dataset}: {sum(case.dataset == dataset for case in cases)} cases")
