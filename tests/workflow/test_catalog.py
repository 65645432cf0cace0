"""What the Snakemake workflow catalog does with this repository, where only Snakemake is installed."""

import shutil
import subprocess
import sys

import pytest
import yaml

from meddiff import __version__
from tests.phantom_run import ROOT
from tests.workflow.bare import bare_environment
from tests.workflow.deployed import FEW_SECONDS


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Run Snakemake in the repository where this package and what it needs are absent."""
    variables = bare_environment(tmp_path_factory.mktemp("bare"))
    found = [sys.executable, "-c", "import snakemake, torch, meddiff"]
    tried = subprocess.run(found, capture_output=True, text=True, env=variables, timeout=FEW_SECONDS)
    assert "No module named 'torch'" in tried.stderr

    def run(*arguments, cwd=ROOT):
        command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables, timeout=FEW_SECONDS)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture
def folder(tmp_path):
    """A folder as `.test` is."""
    shutil.copytree(ROOT / ".test", tmp_path / "test", ignore=shutil.ignore_patterns(".snakemake", "results"))
    return tmp_path / "test"


def test_the_workflow_is_free_of_lint(bare):
    assert "your workflow is in a good condition" in bare("--lint")
    assert "your workflow is in a good condition" in bare("--lint", "-s", "workflow/Snakefile")


def test_the_rules_can_be_drawn_and_planned(bare, folder):
    drawn = bare("-s", "workflow/Snakefile", "-c", 1, "-d", folder, "--forceall", "--rulegraph")
    assert 'label = "pretrain"' in drawn
    assert "pretrain" in bare("-s", ROOT / "workflow" / "Snakefile", "-n", "-c", 1, cwd=folder)


def test_the_catalog_finds_what_it_looks_for():
    assert (ROOT / "workflow" / "Snakefile").exists()
    assert (ROOT / "config" / "README.md").exists()
    first = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in first
    assert "workflow" in first
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage == {"software-stack-deployment": {"conda": True}, "report": True}


def test_the_conda_environment_is_the_lock_and_this_package_and_points_nowhere_beside_itself():
    python, pip, packages = yaml.safe_load((ROOT / "workflow/envs/meddiff.yaml").read_text())["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    lock = (ROOT / "envs" / "requirements.lock").read_text().splitlines()
    assert packages["pip"] == [f"meddiff-fm=={__version__}", *lock], "run `make lock`"
