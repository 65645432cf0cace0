"""A conda for tests, as no channel can be reached here: what Snakemake asks of one, and environments that link to this.

It builds the environment of a file: each package of the file has to be here in that very version and is linked; this
project's own is installed by pip, from the folder that $PIP_FIND_LINKS names.
"""

import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement

OWN = "meddiff-fm"
CONDA = """#!/usr/bin/env bash
case "$*" in
    "info --json") echo '{{"conda_prefix": "{prefix}", "platform": "linux-64"}}' ;;
    "--version") echo "conda 25.1.0" ;;
    "config --get channel_priority --json") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
    "clean"*) ;;
    "env create"*) exec env -u PYTHONPATH {python} {script} "$@" ;;
    *) echo "unknown: $*"; exit 1 ;;
esac
"""
# What a person has in $PYTHONPATH is not the environment's.
ACTIVATE = 'export PATH="$1/bin:$PATH"; unset PYTHONPATH\n'


def install(prefix):
    """Write `conda` and its `activate` into the folder `bin` of a prefix."""
    folder = prefix / "bin"
    folder.mkdir(parents=True)
    (folder / "activate").write_text(ACTIVATE)
    (folder / "conda").write_text(CONDA.format(prefix=prefix, python=sys.executable, script=Path(__file__).resolve()))
    (folder / "conda").chmod(0o755)


def create(file, prefix):
    """Make the environment of a file in a folder."""
    *_, packages = yaml.safe_load(Path(file).read_text())["dependencies"]
    needs = [Requirement(line) for line in packages["pip"]]
    own = [need for need in needs if need.name == OWN]
    for need in needs:
        if need.name != OWN and (need.marker is None or need.marker.evaluate()):
            found = metadata.version(need.name)
            assert need.specifier.contains(found, prereleases=True), f"{need}, but here is {found}"
    venv.create(prefix, with_pip=False)
    (site,) = Path(prefix).glob("lib/python*/site-packages")
    linked = sysconfig.get_path("purelib")  # with its own .pth: from Python 3.12 on distutils, for nnU-Net, is one
    (site / "linked.pth").write_text(f"import site; site.addsitedir({linked!r})\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, *map(str, own)], check=True, timeout=300)
    for each in metadata.entry_points(group="console_scripts"):  # nnU-Net is started by its commands
        program = Path(prefix) / "bin" / each.name
        run = f'if __name__ == "__main__":\n    sys.exit({each.attr}())\n'  # its own processes import it
        program.write_text(f"#!{prefix}/bin/python\nimport sys\nfrom {each.module} import {each.attr}\n\n{run}")
        program.chmod(0o755)


if __name__ == "__main__":
    create(sys.argv[sys.argv.index("--file") + 1], sys.argv[sys.argv.index("--prefix") + 1])
