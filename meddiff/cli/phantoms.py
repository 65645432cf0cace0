"""`meddiff phantoms`: make a dataset of phantoms."""

from typing import Annotated

import typer

from meddiff.cli.options import Out


def phantoms(
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    extent: Annotated[str, typer.Option(help="whole_body, chest, abdomen or han.")] = "whole_body",
    spacing_mm: Annotated[float, typer.Option(min=0.5, max=100, help="Isotropic spacing.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first one.")] = 100,
    lesions: Annotated[bool, typer.Option(help="With lesions in the lungs, and their masks.")] = False,
) -> None:
    """Make digital bodies with known anatomy: data without network or licence."""
    import numpy as np

    from meddiff.datasets import PROVIDER_FILE
    from meddiff.demo.phantom import Z_RANGE_MM, add_lung_lesions, make_phantom
    from meddiff.errors import UserError
    from meddiff.machine.files import write_json
    from meddiff.volumes import volumes

    if extent not in Z_RANGE_MM:
        raise UserError(f"--extent {extent!r} is unknown; choose from {', '.join(Z_RANGE_MM)}")
    for number in range(count):
        body = make_phantom(seed + number, spacing_mm, extent)
        folder = out / f"body{number}"
        if lesions:
            try:
                body, lesions_zyx = add_lung_lesions(body, seed + number)
            except ValueError as error:
                raise UserError(f"--lesions: {error}; choose --extent chest or whole_body, or finer voxels") from error
            volumes.write_image(volumes.from_zyx(lesions_zyx.astype(np.uint8), spacing_mm), folder / "lesion.nii.gz")
        volumes.write_image(volumes.from_zyx(body.ct_zyx, spacing_mm), folder / "ct.nii.gz")
        volumes.write_image(volumes.from_zyx(body.labels_zyx, spacing_mm), folder / "anatomy.nii.gz")
    write_json({"phantoms": count, "extent": extent, "seed": seed, "lesions": lesions}, out / PROVIDER_FILE)
