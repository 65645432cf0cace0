"""The workflow in an empty folder, included from a git repository, with nothing but Snakemake beside it.

As `snakedeploy` does, the folder gets a Snakefile with a `module`, and the configuration; the package comes with the
conda environment. A stand-in for conda builds that here, from the same file.
"""

import shutil
import subprocess
import sys

import pytest

from tests.phantom_run import ROOT
from tests.workflow import conda_stand_in
from tests.workflow.bare import bare_environment

SNAKEFILE = """
configfile: "config/config.yaml"


module meddiff:
    snakefile:
        "git+file://{repository}/workflow/Snakefile@main"
    config:
        config


use rule * from meddiff as meddiff_*
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A git repository with the files as they are here, and not as they were committed."""
    folder = tmp_path_factory.mktemp("repository")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    me = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (("init", "--quiet", "-b", "main"), ("add", "."), (*me, "commit", "--quiet", "-m", "as it is")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def deployed(tmp_path, repository):
    """Run Snakemake in a folder with a Snakefile and a configuration alone."""
    folder, bare = tmp_path / "deployed", tmp_path / "bare"
    for each in (folder / "config", folder / "workflow", bare):
        each.mkdir(parents=True)
    shutil.copy(ROOT / "config" / "phantom.yaml", folder / "config" / "config.yaml")
    (folder / "workflow" / "Snakefile").write_text(SNAKEFILE.format(repository=repository))
    variables = bare_environment(bare)

    def run(*arguments, **more):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables | more)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    return run, folder


def test_an_empty_folder_with_snakemake_alone_can_plan_the_workflow(deployed):
    assert "meddiff_pretrain" in deployed[0]("-n", "--quiet", "rules")


@pytest.mark.slow
def test_jobs_run_in_the_environment_that_the_workflow_names(deployed, repository, tmp_path):
    run, folder = deployed
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path / "wheels"), str(repository)], check=True)
    conda_stand_in.install(tmp_path / "conda")
    path = f"{tmp_path / 'conda' / 'bin'}:/usr/bin:/bin"
    made = "results/phantom/data/manifest.tsv"
    told = run(made, "--sdm", "conda", PATH=path, PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert told.count("Activating conda environment") == 3  # two sets of phantoms, and their index
    assert len((folder / made).read_text().splitlines()) > 1
