"""`meddiff plan`: what a run will take."""

import json
from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile


def plan(
    config: ConfigFile,
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest; none: that of the output folder, or the registry's numbers.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the run, for example profiles/slurm.")] = None,
    past: Annotated[
        list[Path] | None, typer.Option(help="Configuration of another run, whose times correct the cost model.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print jobs, cores, GPU hours, disk and time of what a run still has to do; nothing is started."""
    from meddiff.planning.plan import table
    from meddiff.planning.run import plan_run

    result = plan_run(config, manifest, profile, past or [])
    typer.echo(json.dumps(result.as_json(), indent=2) if as_json else table(result))
