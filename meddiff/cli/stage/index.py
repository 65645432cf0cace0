"""`index`: find the cases."""

from pathlib import Path
from typing import Annotated

import typer

from meddiff.cli.options import Out, stage_config
from meddiff.errors import UserError


def index(
    out: Out,
    config: Annotated[Path | None, typer.Option(help="Configuration, YAML; none: the defaults.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder with datasets in folders named as `meddiff datasets` names them.")
    ] = None,
    raw: Annotated[Path, typer.Option(help="Folder of demo and phantom data.")] = Path("results/data/raw"),
    threads: Annotated[int, typer.Option(min=1, help="Files read at the same time.")] = 8,
) -> None:
    """Find the cases of the configured datasets, or of all below a folder, and write the manifest.

    Beside it come a table of the cases that are missing or too many, and one of fingerprints: a scan that is there
    twice is quarantined, and a second run reads new files only. What the roots held is kept, too, by which the workflow
    sees that one of them has changed.
    """
    import logging

    from meddiff.config import Config
    from meddiff.datasets import known_below, resolve
    from meddiff.datasets.fingerprints import Fingerprints, quarantine_duplicates
    from meddiff.datasets.index import find_cases, stamped, write_manifest
    from meddiff.datasets.inventory import in_words, inventory, shortfalls, write_inventory
    from meddiff.datasets.roots import state_of
    from meddiff.machine.files import write_json

    if config is None and root is None:
        raise UserError("index: give --config, a configuration with datasets, or --root, the folder that holds them")
    settings = stage_config(config, "index") if config else Config()
    data = settings.data
    if root:
        named = {entry.name for entry in data.datasets}
        others = (entry for entry in known_below(root) if entry.name not in named)
        data = data.model_copy(update={"datasets": (*data.datasets, *others)})
    states = {dataset.name: state_of(dataset) for dataset in (resolve(entry, raw) for entry in data.datasets)}
    cases = find_cases(data, raw, settings.seed, settings.machine.data_shards)
    cases = quarantine_duplicates(cases, Fingerprints(out.with_suffix(".fingerprints.tsv"), threads))
    rows = inventory(cases)
    write_inventory(rows, out.with_suffix(".inventory.tsv"))
    write_manifest(stamped(cases, threads), out)
    write_json(states, out.with_suffix(".roots.json"))
    for row in rows:
        typer.echo(in_words(row))
    for sentence in shortfalls(cases):
        logging.getLogger(__name__).warning(sentence)
