"""The workflow as others have it: included from a git repository into an empty folder, beside nothing but Snakemake.

As `snakedeploy` does, the folder gets a Snakefile with a `module`, the configuration and the profiles; the package
comes with the conda environment. A stand-in for conda builds that here, from the same file.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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


use rule * from meddiff
"""
# What takes longer, hangs: the workflow, whose jobs end with it before pytest ends the test, and git or pip.
MOST_SECONDS, FEW_SECONDS = 1080, 300


def deploy(folder: Path, config: Path) -> Callable[..., str]:
    """Return what runs Snakemake in a new folder with that configuration, and gives back what it printed."""
    repository, bare, conda, here = (folder / name for name in ("repository", "bare", "conda", "here"))
    for each in (repository, bare, here / "config", here / "workflow"):
        each.mkdir(parents=True)
    _commit(repository)
    conda_stand_in.install(conda)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    _do(*build, "--wheel-dir", folder / "wheels", repository)
    shutil.copy(config, here / "config" / "config.yaml")
    shutil.copytree(ROOT / "profiles", here / "profiles")
    (here / "workflow" / "Snakefile").write_text(SNAKEFILE.format(repository=repository))
    variables = bare_environment(bare)
    variables |= {"PATH": f"{conda / 'bin'}:/usr/bin:/bin", "PIP_FIND_LINKS": str(folder / "wheels")}

    def snakemake(*arguments: object) -> str:
        command = ["timeout", "--kill-after=60", MOST_SECONDS, sys.executable, "-m", "snakemake", *arguments]
        command = [*map(str, command), "--sdm", "conda"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=here, env=variables)
        if done.returncode:
            pytest.fail(f"exit code {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-8000:]}")
        return done.stdout + done.stderr

    return snakemake


def _commit(repository: Path) -> None:
    """Make a git repository with the files as they are here, and not as they were committed."""
    for name in _do("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, repository / name)
    me = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (("init", "--quiet", "-b", "main"), ("add", "."), (*me, "commit", "--quiet", "-m", "as it is")):
        _do("git", *command, cwd=repository)


def _do(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, stdout=subprocess.PIPE, text=True, check=True, timeout=FEW_SECONDS
    )
    return done.stdout
