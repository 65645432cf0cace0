"""`meddiff doctor`: what this installation has and lacks."""

import json
from typing import Annotated

import typer


def doctor(
    network: Annotated[bool, typer.Option("--network", help="Try the network, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what this installation has and lacks, and how to mend that."""
    from meddiff.api.checkup import checkup

    findings = list(checkup(network))
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
        return
    for finding in findings:
        typer.echo(f"{finding.name:30} {finding.found}")
        if finding.mend:
            typer.echo(f"{'':30} -> {finding.mend}")
