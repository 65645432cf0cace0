"""The program `meddiff`: its verbs, its messages and its exit codes.

Exit codes: 0 done; 1 a fault of the machine or of this program; 2 something to mend, said in one line; 75 stopped at a
checkpoint, the same command goes on.
"""

import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from meddiff import __version__
from meddiff.cli import (
    config,
    datasets,
    denoise,
    detect,
    doctor,
    fetch,
    generate,
    label,
    lesion,
    model,
    phantoms,
    plan,
    stage,
    superres,
    synthesize,
    weights,
)
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.machine.faults import machine_fault
from meddiff.machine.home import stand_in_home

EXIT_MACHINE_FAULT, EXIT_USER_ERROR, EXIT_GO_ON = 1, 2, 75

SCANS, MODELS, DATA, WORKFLOW = "Scans", "Models", "Data", "Workflow"


class Sections(TyperGroup):
    """The verbs in the sections that their `rich_help_panel` names, in plain text."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title in (SCANS, MODELS, DATA, WORKFLOW):
            verbs = [verb for verb in self.commands.values() if getattr(verb, "rich_help_panel", None) == title]
            width = formatter.width - 6 - max(len(name) for name in self.commands)
            with formatter.section(title):
                formatter.write_dl([(str(verb.name), verb.get_short_help_str(width)) for verb in verbs])


app = typer.Typer(
    cls=Sections,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meddiff {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A 3-D diffusion foundation model for CT."""


app.command(rich_help_panel=SCANS)(denoise.denoise)
app.command(rich_help_panel=SCANS)(detect.detect)
app.command(rich_help_panel=SCANS)(synthesize.synthesize)
app.command(rich_help_panel=SCANS)(generate.generate)
app.add_typer(lesion.app, name="lesion", rich_help_panel=SCANS)
app.command(rich_help_panel=SCANS)(superres.superres)
app.command(rich_help_panel=SCANS)(label.label)
app.add_typer(model.app, name="model", rich_help_panel=MODELS)
app.command(rich_help_panel=MODELS)(weights.weights)
app.command(rich_help_panel=MODELS)(doctor.doctor)
app.command(rich_help_panel=DATA)(datasets.datasets)
app.command(rich_help_panel=DATA)(datasets.download)
app.command(rich_help_panel=DATA)(fetch.fetch)
app.command(rich_help_panel=DATA)(phantoms.phantoms)
app.command(rich_help_panel=WORKFLOW)(config.config)
app.command(rich_help_panel=WORKFLOW)(plan.plan)
app.add_typer(stage.app, name="stage", rich_help_panel=WORKFLOW)


def run() -> None:
    """Run the program and exit."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    first_process = os.environ.get("RANK", "0") == "0"  # of those that torchrun started
    logging.getLogger("meddiff").setLevel(logging.INFO if first_process else logging.WARNING)
    try:
        with stand_in_home():
            app()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"meddiff: {line}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except TimeSliceEnded as error:
        print(f"meddiff: {error}", file=sys.stderr)
        sys.exit(EXIT_GO_ON)
    except Exception as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        print(f"meddiff: {fault}", file=sys.stderr)
        sys.exit(EXIT_MACHINE_FAULT)
