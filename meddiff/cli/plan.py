"""`meddiff plan`: what a run will ask for."""

import json
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile


def plan(
    config: ConfigFile,
    profile: Annotated[str | None, typer.Option(help="Profile of the run, for example profiles/slurm.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print jobs, GPU hours and disk of what a run still has to do; nothing is started."""
    from meddiff.planning.plan import as_text, plan_run

    found = plan_run(config, profile)
    typer.echo(json.dumps(found, indent=2) if as_json else as_text(found))
