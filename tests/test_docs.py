"""The documents: the site is built from them without a broken link, and the commands in them exist, or run."""

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.volumes.volumes import from_zyx, write_image
from tests.phantom_run import ROOT
from tests.weights.bundles import SPACING_MM, write_control, write_model

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
FILES_OF_RULES = [ROOT / "workflow/Snakefile", *ROOT.glob("workflow/rules/*.smk")]
RULES = [rule for file in FILES_OF_RULES for rule in re.findall(r"^rule (\w+):", file.read_text(), re.M)]
IN_THE_PROJECT = ("doctor", "datasets", "config")  # the others run in a folder with a scan's mask and models
LABELS = "TotalSegmentator labels the scan first, which takes a minute; cli/test_dicom_out.py runs it with a mask"
NOT_RUN = {
    "denoise": LABELS,
    "detect": LABELS,
    "lesion inpaint": LABELS,
    "superres": LABELS,
    "label": LABELS,
    "generate": "draws fifty scans; cli/test_generate.py runs it for one",
    "download": "needs a network",
    "fetch": "needs a network; demo/test_scans.py runs it on a package of its own",
    "weights": "needs a network",
    "model info": "counts the memory of a training step for ten seconds; model/test_info.py runs it",
    "plan": "waits for Snakemake's dry run; planning/ runs it",
}
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)


def test_the_site_has_no_broken_link(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    choices = (tmp_path / "choices.html").read_text()
    assert choices.count("<li>") > 50
    assert "kernel is stretched" in choices  # of a docstring
    assert "the plain one; the paper counts patients" in choices  # of a comment
    assert "--noise-hu" in (tmp_path / "commands.html").read_text()
    assert "What a model does with a scan, from a notebook" in (tmp_path / "python.html").read_text()
    assert "googleapis" not in (tmp_path / "index.html").read_text()  # it opens without a network


def commands():
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("#")[0].split("&&"):
                    if part.strip():
                        yield pytest.param(shlex.split(part), id=f"{page.relative_to(ROOT)}: {part.strip()}")


@pytest.mark.parametrize("words", commands())
def test_a_command_of_the_documents_exists(words):
    known = {"meddiff": exists_in_meddiff, "snakemake": exists_in_the_workflow, "make": exists_in_the_makefile}
    known.get(words[0], lambda _: None)(words[1:])


def runs():
    """Give the commands of `meddiff` once, as words, but for those that are not run."""
    of_meddiff = {tuple(parameter.values[0][1:]) for parameter in commands() if parameter.values[0][0] == "meddiff"}
    return sorted(words for words in of_meddiff if not {words[0], " ".join(words[:2])} & set(NOT_RUN))


@pytest.fixture(scope="module")
def at_hand(tmp_path_factory):
    """What the documents' commands name: a mask, scans to index, models and ControlNets."""
    folder = tmp_path_factory.mktemp("at-hand")
    labels = np.zeros((16, 24, 24), np.uint8)
    labels[:, 4:-4, 4:-4] = 118
    labels[:, 8:16, 8:16] = 10
    for name in ("mask.nii.gz", "anatomy.nii.gz"):
        write_image(from_zyx(labels, SPACING_MM), folder / name)
    write_image(
        from_zyx(np.where(labels > 0, 40, -1000).astype(np.int16), SPACING_MM),
        folder / "DIR/totalsegmentator/s0001/ct.nii.gz",
    )
    small = folder / "results/small/models"
    for place in (small / "meddiff-fm", small / "ddpm", folder / "MODEL"):
        write_model(place)
    for control in ("lesions/demo-lung-tumours/fine-tune", "super-resolution"):
        write_control(small / control, small / "meddiff-fm")
    return folder


@pytest.mark.parametrize("words", [pytest.param(words, id=" ".join(words)) for words in runs()])
def test_a_command_of_the_documents_runs(words, at_hand, monkeypatch):
    monkeypatch.chdir(ROOT if words[0] in IN_THE_PROJECT else at_hand)
    torch.manual_seed(0)
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = [words[i + 1] for i, word in enumerate(words) if word in ("-o", "--out", "--mask-out")]
    assert done.output or written
    assert all((at_hand / name).exists() for name in written)


def test_what_is_not_run_stands_in_the_documents():
    named = [" ".join(parameter.values[0][1:]) for parameter in commands()]
    assert not [verb for verb in NOT_RUN if not any(words.startswith(verb) for words in named)]


def exists_in_meddiff(words):
    command = typer.main.get_command(app)
    context = command.make_context("meddiff", [], resilient_parsing=True)
    while words and hasattr(command, "get_command") and (inner := command.get_command(context, words[0])):
        command, words = inner, words[1:]
        context = command.make_context(words[0] if words else "", [], parent=context, resilient_parsing=True)
    assert not hasattr(command, "get_command"), f"{words[:1]} is no command"
    options = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= options


def exists_in_the_workflow(words):
    named = [word for word in words if word.startswith("config/") and word.endswith(".yaml")]
    assert all((ROOT / path).exists() for path in named)
    wanted = [word for word in words if re.fullmatch(r"[a-z_]+", word) and words[words.index(word) - 1] != "--cores"]
    assert set(wanted) - {"conda", "apptainer"} <= set(RULES), f"{wanted} are no rules"


def exists_in_the_makefile(words):
    assert set(words) <= set(TARGETS)
