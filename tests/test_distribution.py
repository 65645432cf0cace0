"""The wheel: what is in it, and what it asks for."""

import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from meddiff import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build without network, from a copy, since setuptools leaves its work in the folder."""
    folder = tmp_path_factory.mktemp("wheel")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "meddiff", folder / "source/meddiff", ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_wheel_has_all_modules_and_what_they_read(wheel):
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "meddiff").rglob("*.py")}
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "meddiff/report/templates").iterdir()}
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "meddiff/anatomy/weights").iterdir()}
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "meddiff/weights").rglob("*") if path.is_file()}
    files = {file for file in files if "__pycache__" not in file}
    packed = {name for name in wheel.namelist() if not name.startswith(f"meddiff_fm-{__version__}.dist-info/")}
    assert files <= packed
    assert {name.partition("/")[0] for name in packed} == {"meddiff"}


def test_the_wheel_pins_nothing_and_its_core_is_light(wheel):
    metadata = message_from_bytes(wheel.read(f"meddiff_fm-{__version__}.dist-info/METADATA"))
    assert metadata["Version"] == __version__
    assert set(metadata.get_all("Provides-Extra")) == {"anatomy", "dicom", "pipeline", "dev"}
    core = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert any(line.startswith("torch>=") for line in core)
    assert not [line for line in core if "==" in line]
    assert not [line for line in core if line.lower().startswith(("snakemake", "totalsegmentator", "nnunet", "pandas"))]
