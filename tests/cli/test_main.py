"""The program: its errors, its exit codes, and what it does not import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from meddiff.cli.main import app
from meddiff.config.stages import STAGES

ROOT = Path(__file__).parent.parent.parent


def meddiff(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "meddiff", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )


@pytest.mark.parametrize("module", ["meddiff.cli.main", "meddiff.config.stages", "meddiff.datasets"])
def test_help_and_snakefile_import_nothing_heavy(module):
    heavy = ("torch", "SimpleITK", "pandas", "monai", "numpy")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_training_needs_no_reader_of_scans():
    """A machine for training alone has the store's records and torch; what reads scans need not be installed."""
    modules = ", ".join(f"meddiff.training.{name}" for name in ("pretrain", "distill", "finetune"))
    readers = ("SimpleITK", "pydicom", "pandas", "monai")
    code = f"import sys, {modules}; print([m for m in {readers} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_shows_the_verbs_of_people_in_sections_and_every_stage_with_what_it_does():
    listed = meddiff("--help").stdout
    assert [word for word in ("Scans:", "Models:", "Data:", "Workflow:") if word in listed] == re.findall(
        r"^[A-Z]\w+:$", listed.split("--help")[1], re.MULTILINE
    )
    verbs = re.findall(r"^  (\w+)  +[A-Z]", listed.split("Scans:")[1], re.MULTILINE)
    assert sorted(verbs) == sorted(typer.main.get_group(app).commands)
    assert len(verbs) < 20
    stages = re.findall(r"^  (\w+)  +[A-Z]", meddiff("stage", "--help").stdout.split("Commands:")[1], re.MULTILINE)
    assert stages == list(STAGES)


def test_help_and_a_stage_import_no_other_stage():
    code = (
        "import sys; from typer.testing import CliRunner; from meddiff.cli.main import app; "
        "[CliRunner().invoke(app, [*words, '--help']) for words in ({words})]; "
        "print([m for m in sys.modules if m.startswith('meddiff.cli.stage.') or m == 'torch'])"
    )
    for words, imported in ("[],", []), ("['stage', 'thick_slices'],", ["meddiff.cli.stage.superres"]):
        command = [sys.executable, "-c", code.replace("{words}", words)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == str(imported)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stage", "index", "--config", "nowhere.yaml", "--out", "x"), "nowhere.yaml: no such file"),
        (("fetch", "demo-knee", "--out", "x"), "'demo-knee' is no demo dataset; choose from demo-chest"),
        (("phantoms", "--extent", "leg", "--out", "x"), "--extent 'leg' is unknown"),
        (("config", "Makefile"), "Makefile: not YAML"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_2(arguments, words):
    done = meddiff(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("meddiff: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_configuration_is_printed_in_full():
    done = meddiff("config", "config/config.yaml")
    assert done.returncode == 0
    assert "gradient_clip_norm: 1.0" in done.stdout
