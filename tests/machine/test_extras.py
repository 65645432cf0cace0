"""The core and its extras: what may be missing, and that it is said."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from meddiff.errors import UserError
from meddiff.machine.extras import EXTRAS, require
from meddiff.machine.faults import machine_fault

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IN_EXTRAS = {module for modules in EXTRAS.values() for module in modules}
COMES_ALONG = {"PIL", "triton", "batchgeneratorsv2"}  # with Matplotlib, torch and nnU-Net


def names(requirements):
    return {re.match(r"[\w-]+", line).group().lower().replace("-", "_") for line in requirements}


def imported_modules():
    """Give the names of all packages of others that this one imports."""
    for path in (ROOT / "meddiff").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield (node.module or "").partition(".")[0]


def test_the_extras_bring_what_they_are_said_to_bring():
    distributions = packages_distributions()
    for extra, modules in EXTRAS.items():
        brought = names(PROJECT["optional-dependencies"][extra])
        assert all(brought & names(distributions[module]) for module in modules)


def test_whatever_is_imported_comes_with_the_core_or_an_extra():
    others = set(imported_modules()) - sys.stdlib_module_names - {"meddiff"} - IN_EXTRAS - COMES_ALONG
    distributions = packages_distributions()
    core = names(PROJECT["dependencies"])
    assert not {module for module in others if not core & names(distributions[module])}


def test_what_is_missing_names_the_command_that_brings_it():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meddiff.machine.extras.find_spec", lambda _: None)
        with pytest.raises(UserError, match=re.escape("pip install 'meddiff-fm[anatomy]'")):
            require("totalsegmentator")
    missing = ModuleNotFoundError("No module named 'pandas'", name="pandas")
    assert "pip install 'meddiff-fm[pipeline]'" in machine_fault(missing)
    require("numpy")


def test_tasks_on_one_scan_need_the_core_alone():
    modules = ("scan", "guided", "denoising", "anomaly", "lesion_files", "super_resolution", "synthesis")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(IN_EXTRAS)!r}))"
    code = f"{blocked}; import meddiff.cli.main, " + ", ".join(f"meddiff.tasks.{name}" for name in modules)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
