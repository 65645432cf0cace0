"""`meddiff config`: check a configuration, or write the generated documents."""

from pathlib import Path
from typing import Annotated

import typer


def config(
    path: Annotated[Path, typer.Argument(help="Configuration, YAML.")] = Path("config/config.yaml"),
    write: Annotated[
        bool, typer.Option("--write", help="Write the generated files in config/ and workflow/schemas/ anew.")
    ] = False,
) -> None:
    """Check a configuration and print it in full, with every default filled in."""
    import yaml

    from meddiff.cli.documents import write_documents
    from meddiff.config import load_config
    from meddiff.datasets import resolve

    if write:
        write_documents(Path())
        return
    config = load_config(path)
    for entry in config.data.datasets:
        resolve(entry, config.output_dir)
    typer.echo(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip())
