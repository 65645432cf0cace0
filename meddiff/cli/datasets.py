"""`meddiff datasets` and `meddiff download`: what there is, and bringing it."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import Out
from meddiff.errors import UserError


def datasets(
    root: Annotated[Path | None, typer.Option(help="Folder with datasets in folders of their names.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration that names datasets and their roots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that is known, as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The table of docs/data.md.")] = False,
) -> None:
    """List the datasets of the paper: region, expected and found cases, licence, how to get them."""
    import json

    from meddiff.config import load_config
    from meddiff.datasets.catalogue import as_markdown, as_table, catalogue

    if markdown:
        typer.echo(as_markdown().rstrip())
        return
    records = catalogue(root, load_config(config).data.datasets if config else ())
    typer.echo(json.dumps(records, indent=2) if as_json else as_table(records))


def download(
    name: Annotated[str, typer.Argument(help="A dataset that `meddiff datasets` lists.")],
    out: Out,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives after unpacking.")] = False,
) -> None:
    """Bring a dataset that is free to download; for another one, say how to get it.

    What a break left is gone on with; archives are checked against the digest that is known before they are unpacked.
    """
    from meddiff.datasets import PUBLISHED
    from meddiff.datasets.download import bring

    known = {dataset.name: dataset for dataset in PUBLISHED}
    if name not in known:
        raise UserError(f"{name!r} is no dataset of the registry; choose from {', '.join(known)}")
    dataset = known[name]
    if not dataset.files:
        typer.echo(f"{dataset.title} cannot be downloaded directly. {dataset.page}\n{dataset.steps}")
        typer.echo(f"Licence: {dataset.licence}. Then: meddiff stage index --root {out.parent} --out manifest.tsv")
        return
    typer.echo(f"{dataset.title}: {len(dataset.files)} file(s), licence {dataset.licence}, {dataset.page}")
    bring(dataset.files, out, keep)
