"""What made the results: versions, configuration, code, machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from meddiff import __version__
from meddiff.machine.files import sha256

PACKAGES = ("torch", "snakemake", "TotalSegmentator", "nnunetv2", "SimpleITK", "pandas", "numpy")


def provenance(config_file: Path, seed: int) -> dict[str, Any]:
    """Return a JSON value; nothing in it names a person or a host."""
    return {
        "meddiff": __version__,
        "git_commit": _git_commit(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "config_sha256": sha256(config_file),
        "seed": seed,
        "hardware": {"cores": os.cpu_count(), "processor": _processor(), "gpu": _gpu()},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    folder = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
