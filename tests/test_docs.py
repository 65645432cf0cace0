"""The documents: the site is built from them without a broken link, and the commands in them exist."""

import re
import shlex
import subprocess
import sys

import pytest
import typer

from tests.phantom_run import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
FILES_OF_RULES = [ROOT / "workflow/Snakefile", *ROOT.glob("workflow/rules/*.smk")]
RULES = [rule for file in FILES_OF_RULES for rule in re.findall(r"^rule (\w+):", file.read_text(), re.M)]
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


def exists_in_meddiff(words):
    from meddiff.cli.main import app

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
    assert set(wanted) - {"conda"} <= set(RULES), f"{wanted} are no rules"


def exists_in_the_makefile(words):
    assert set(words) <= set(TARGETS)
