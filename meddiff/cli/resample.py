"""`meddiff resample`: bring a shard's scans to the isotropic spacing."""

from typing import Annotated

import typer

from meddiff.cli.options import ConfigFile, IndexOut, Manifest, Out, stage_config


def resample(
    config: ConfigFile,
    manifest: Manifest,
    shard: Annotated[int, typer.Option(min=0, help="Which shard.")],
    out: Out,
    index: IndexOut,
) -> None:
    """Read a shard's scans, quarantine what is no CT, and resample the others."""
    from meddiff.data import prepare
    from meddiff.data.index import read_manifest

    cases = [case for case in read_manifest(manifest) if case.shard == shard]
    prepare.resample(cases, stage_config(config, "resample"), out, index)
