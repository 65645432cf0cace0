"""`meddiff model`: facts about a network."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Facts about a network.", no_args_is_help=True)


@app.callback()
def model() -> None:
    """Keep `info` a sub-command although it is the only one."""


@app.command()
def info(
    source: Annotated[str, typer.Argument(help="A configuration (YAML), or a model bundle's folder or name.")],
    name: Annotated[str | None, typer.Option(help="Which of the configuration's models; default: the first.")] = None,
) -> None:
    """Print parameters and FLOPs of one forward pass of one patch, by level, and the memory of a training step."""
    from meddiff.config import load_config
    from meddiff.model.foundation import read_network_config
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
