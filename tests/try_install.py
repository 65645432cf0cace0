"""Build wheel and sdist, try both in an empty environment of each Python: `python tests/try_install.py python3.12 ...`.

What is given after `--` goes to pip, such as `torch==2.13.0`. An environment is deleted before the next one is made.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIGHTEST_IMPORT_S, LIGHTEST_HELP_S, CORE_GB = 1.5, 0.5, 1.5
# What the wheels of torch bring for GPUs: packages, and libraries of its own.
GPU_PACKAGES = ("nvidia", "triton", "cuda", "cusparselt")
GPU_LIBRARIES = ("libtorch_cuda*", "libc10_cuda*", "libtorch_nvshmem*", "libcaffe2_nvrtc*")
CHECK = """
import resource, subprocess, sys
def cpu_s(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
cpu_s("-c", "import meddiff"), cpu_s("-m", "meddiff", "--help")
print(min(cpu_s("-c", "import meddiff") for _ in range(3)), min(cpu_s("-m", "meddiff", "--help") for _ in range(3)))
"""
DENOISE = """
import numpy as np, torch
from meddiff import MedDiffFM, Voxels
from meddiff.config import DiffusionConfig, NetworkConfig, WindowsConfig
from meddiff.errors import UserError
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
small = NetworkConfig(patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4)
facts = dict(steps=1, samples_per_step=1, epochs=1.0, seed=0, run="r", anatomy_weights="demo", validation={})
model = FoundationModel(UNet(small), DiffusionConfig(), "tiny", 6.0, WindowsConfig())
model.save(__import__("pathlib").Path("model"), facts | {"regions_per_dataset": {}})
labels = np.zeros((16, 32, 32), np.uint8)
labels[:, 4:-4, 4:-4] = 118
labels[:, 10:20, 8:16] = 10
hu = np.select([labels == 10, labels > 0], [-850.0, 45.0], -1000.0)
hu += 12 * np.random.default_rng(0).normal(size=labels.shape)
scan, mask = (Voxels(array, (6, 6, 6)) for array in (hu, labels))
clean = MedDiffFM.from_pretrained("model").denoise(scan, "chest", mask)
assert clean.values_zyx[4:-4, 22:26, 18:26].std() < 0.8 * hu[4:-4, 22:26, 18:26].std()
try:
    MedDiffFM.from_pretrained("model").denoise(scan, "chest")
except UserError as error:
    assert "pip install 'meddiff-fm[anatomy]'" in str(error), error
else:
    raise SystemExit("TotalSegmentator is in the core")
"""


def main(pythons: list[str], more: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="try-install-") as folder:
        built = build(Path(folder))
        for python in pythons:
            for package in built:
                try_one(python, package, more, Path(folder) / "env")


def build(folder: Path) -> list[Path]:
    """Return wheel and sdist, made from a copy: setuptools leaves its work where it runs."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "build"], check=True)
    python = folder / "build/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "build"], check=True)
    subprocess.run([python, "-m", "build", "--outdir", folder / "dist", folder / "source"], check=True, stdout=-3)
    return sorted((folder / "dist").iterdir(), key=lambda path: path.suffix, reverse=True)


def try_one(python: str, package: Path, more: list[str], env: Path) -> None:
    """Install a package with its core, measure it, and denoise with a model that has learned nothing."""
    subprocess.run([python, "-m", "venv", "--clear", env], check=True)
    own = env.absolute() / "bin/python"
    subprocess.run([own, "-m", "pip", "install", "--quiet", package, *more], check=True)
    with tempfile.TemporaryDirectory() as empty:
        times = subprocess.run([own, "-c", CHECK], check=True, capture_output=True, text=True, cwd=empty).stdout
        subprocess.run([own, "-c", DENOISE], check=True, cwd=empty)
    import_s, help_s = map(float, times.split())
    (site,) = (env / "lib").glob("python*/site-packages")
    gb = core_gb(site)
    print(f"{python} {package.name}: import {import_s:.2f} s, --help {help_s:.2f} s, core {gb:.2f} GB", flush=True)
    assert import_s < LIGHTEST_IMPORT_S
    assert help_s < LIGHTEST_HELP_S
    assert gb < CORE_GB
    shutil.rmtree(env)


def core_gb(site: Path) -> float:
    """Return the size of an environment without what torch brings for GPUs."""
    files = (path for path in site.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if not _is_for_gpus(path.relative_to(site))) / 1e9


def _is_for_gpus(path: Path) -> bool:
    return path.parts[0].startswith(GPU_PACKAGES) or any(path.match(name) for name in GPU_LIBRARIES)


if __name__ == "__main__":
    given = sys.argv[1:]
    split = given.index("--") if "--" in given else len(given)
    main(given[:split] or [sys.executable], given[split + 1 :])
