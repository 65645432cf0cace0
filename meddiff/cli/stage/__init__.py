"""`meddiff stage NAME`: the work of the rule NAME. Each file has the verbs of the rule file of its name."""

from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from meddiff.config.stages import STAGES


class Stages(TyperGroup):
    """The stages as verbs; only the file that has the wanted one is imported. Typer does not export click's types."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(STAGES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in STAGES:
            return None
        verb = typer.Typer(add_completion=False, rich_markup_mode=None)
        verb.command(cmd_name)(getattr(import_module(f"{__name__}.{_file_of(cmd_name)}"), cmd_name))
        return typer.main.get_command(verb)


def _file_of(stage: str) -> str:
    return next(file.stem for file in Path(__file__).parent.glob("*.py") if f"\ndef {stage}(" in file.read_text())


app = typer.Typer(cls=Stages, help="Do the work of one rule of the pipeline.", no_args_is_help=True)
