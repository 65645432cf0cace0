"""The phantom workflow that tests run: its configuration, and the tables that an undisturbed run of this code gave."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml

from meddiff.demo.phantom import make_phantom
from meddiff.volumes.volumes import from_zyx, write_image
from tests.forked import run_forked

ROOT = Path(__file__).parents[1]
SPACING_MM = 8.0  # coarse, so that it takes minutes
# Of a job, on this machine and on a cluster: sums of floats depend on it, and small jobs side by side are faster.
THREADS = 1
SOURCES = (
    *("Snakefile", "workflow/Snakefile", "workflow/*.py", "workflow/**/*.smk", "workflow/**/*.yaml"),
    *("meddiff/**/*.py", "config/*.yaml", "envs/*.lock", "tests/phantom_run.py"),
)


def snakemake(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on this project's workflow; `check` lets a test fail that it fails."""
    command = ["snakemake", "--directory", str(ROOT), *map(str, arguments)]
    done = run_forked("snakemake.cli:main", command, ROOT, os.environ | {"COLUMNS": "200"})
    if check and done.returncode:
        pytest.fail(done.stdout[-4000:] + done.stderr[-8000:])
    return done


def write_config(folder: Path) -> Path:
    """Write the phantoms' configuration, with chests only and with bad inputs among them, and return its path."""
    write_bad_inputs(folder / "mixed")
    config = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text())
    config["output_dir"] = str(folder / "results")
    mixed = {"name": "mixed", "root": str(folder / "mixed"), "region": "chest"}
    config["data"]["spacing_mm"] = SPACING_MM
    # Chests: a third of the time of whole bodies.
    config["data"]["datasets"] = [{"name": "phantom-chest"}, {"name": "phantom-lesions"}, mixed]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def write_bad_inputs(folder: Path) -> None:
    """Write a truncated scan, an image that is no CT and an empty folder, beside one good scan."""
    folder.mkdir(parents=True)
    write_image(from_zyx(make_phantom(200, SPACING_MM, "chest").ct_zyx, SPACING_MM), folder / "good.nii.gz")
    whole = (folder / "good.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    brain = np.random.default_rng(0).integers(0, 900, (20, 20, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(brain), str(folder / "mr.nii.gz"))
    (folder / "nothing").mkdir()


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables in a folder by their names."""
    return {path.stem: pd.read_csv(path) for path in sorted(folder.glob("*.csv"))}


def undisturbed_tables(pytest_config: pytest.Config) -> Path:
    """Return the folder where a local run of this very code keeps its tables for other tests; it may be empty."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return Path(pytest_config.cache.mkdir(f"tables-{digest.hexdigest()[:12]}"))


def keep_tables(tables: Path, kept: Path) -> None:
    for path in tables.glob("*.csv"):
        shutil.copy(path, kept)
