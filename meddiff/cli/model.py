"""`meddiff model`: facts about a network, and bundles in half precision or for MONAI."""

import re
from pathlib import Path
from typing import Annotated

import typer

from meddiff.errors import UserError

app = typer.Typer(help="Facts about a network, and bundles in half precision or for MONAI.", no_args_is_help=True)


@app.command()
def info(
    source: Annotated[str, typer.Argument(help="A configuration (YAML), or a model bundle's folder or name.")],
    name: Annotated[str | None, typer.Option(help="Which of the configuration's models; default: the first.")] = None,
) -> None:
    """Print parameters and FLOPs of a forward pass by level, the memory of a training step, and a bundle's recipe."""
    from meddiff.config import load_config
    from meddiff.model.foundation import read_network_config, read_recipe
    from meddiff.model.info import parts
    from meddiff.model.memory import step_memory

    if source.endswith((".yaml", ".yml")):
        config = load_config(Path(source))
        network = config.network(name or config.models[0].name)
    else:
        network = read_network_config(source)
    rows = [(part.name, part.parameters, part.flops) for part in parts(network)]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    typer.echo(f"{'':40}{'parameters':>14}{'GFLOP':>12}")
    for title, parameters, flops in rows:
        typer.echo(f"{title:40}{parameters:14,}{flops / 1e9:12,.2f}")
    typer.echo(f"\n{'training step in bfloat16, GB (counted)':40}{'plain':>14}{'checkpointing':>16}")
    for batch_size in (1, 2, 4, 8):
        plain, saving = (step_memory(network, batch_size, checkpointing).total / 1e9 for checkpointing in (False, True))
        typer.echo(f"{f'{batch_size} patches':40}{plain:14.1f}{saving:16.1f}")
    if not source.endswith((".yaml", ".yml")):
        typer.echo(f"\nsampling: {read_recipe(source)}")


@app.command()
def recipe(
    bundle: Annotated[Path, typer.Argument(help="Folder of a model bundle.")],
    config: Annotated[Path, typer.Option(help="Configuration (YAML) whose section `sampling` was measured as good.")],
) -> None:
    """Make a configuration's `sampling` the recipe of a bundle, which counts where a user's configuration is silent."""
    from meddiff.config import load_config
    from meddiff.model.foundation import read_recipe, write_recipe

    write_recipe(bundle, load_config(config).sampling)
    typer.echo(f"{bundle}: {read_recipe(bundle)}")


@app.command()
def pack(
    bundles: Annotated[list[str], typer.Argument(metavar="NAME=FOLDER...", help="Bundles of models and ControlNets.")],
    out: Annotated[Path, typer.Option(help="Folder to write; meddiff/weights is that of the package.")],
    store: Annotated[
        list[Path] | None,
        typer.Option(help="Indices of the store of the training, for bundles that do not say what scans they know."),
    ] = None,
) -> None:
    """Write bundles in half precision into folders of their names, with checksums, as they come with the package.

    The verbs look for meddiff-fm, super-resolution and lesions; `training.start_from: shipped` for the model's name.
    """
    named = {name: Path(folder) for name, _, folder in (bundle.partition("=") for bundle in bundles)}
    if bad := [b for b in bundles if not re.fullmatch(r"[a-z0-9-]+=.+", b)]:
        raise UserError(f"{bad[0]}: give each bundle as NAME=FOLDER, the name in small letters, digits and hyphens")
    from meddiff.model.packing import pack as write
    from meddiff.store.known import known_regions
    from meddiff.store.query import open_store, where

    training = where(open_store(store or []), role="pretraining", split="train")
    for name, size_mb in write(named, out, known_regions(training)).items():
        typer.echo(f"{name:24}{size_mb:8.1f} MB")


@app.command("export-monai")
def export_monai(
    model: Annotated[str, typer.Argument(help="A model bundle's folder, or its id on Hugging Face.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write, which is not there yet.")],
) -> None:
    """Write a model as a bundle that MONAI runs, where meddiff is installed: synthesis, denoising, anomaly maps."""
    from meddiff.model.monai_bundle import export_monai as write

    write(model, out)
