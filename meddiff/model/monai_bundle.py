"""A model as a bundle of MONAI: the model's own files, and configurations by which MONAI's runner works with them.

Choice: MONAI runs `meddiff.MedDiffFM`, so the voxels are the same; meddiff must be installed beside it, as the metadata
say.
"""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from meddiff import __version__
from meddiff.errors import UserError
from meddiff.machine.files import write_json
from meddiff.model.bundle_files import BundleConfig, read_config
from meddiff.model.foundation import CARD, CONFIG, WEIGHTS, find_bundle

RUNNER = {
    "imports": ["$import meddiff", "$import SimpleITK"],
    "bundle_root": ".",
    "device": "auto",
    "seed": 0,
    "model": "$meddiff.MedDiffFM.from_pretrained(@bundle_root + '/models', device=@device)",
    "run": ["$SimpleITK.WriteImage(@result, @output)"],
}
# Of each configuration what a user overrides, and the call.
TASKS = {
    "inference": {
        "anatomy": "anatomy.nii.gz",
        "region": "chest",
        "output": "ct.nii.gz",
        "result": "$@model.synthesize(@anatomy, @region, seed=@seed)",
    },
    "denoise": {
        "ct": "ct.nii.gz",
        "anatomy": None,
        "region": "chest",
        "output": "denoised.nii.gz",
        "result": "$@model.denoise(@ct, @region, @anatomy, seed=@seed)",
    },
    "detect": {
        "ct": "ct.nii.gz",
        "anatomy": None,
        "organ": "lung",
        "output": "map.nii.gz",
        "result": "$@model.detect(@ct, @organ, @anatomy, seed=@seed)",
    },
}


def export_monai(source: str, out: Path) -> None:
    """Write a bundle of MONAI: `models/`, `configs/metadata.json` and a configuration for each task.

    `inference.json` draws a CT for an anatomy mask.

    Args:
        source: a model bundle's folder, or its id on Hugging Face.
        out: a folder that is not there yet.

    Raises:
        UserError: there is no such model, or something at `out`.
    """
    folder = find_bundle(source)
    config = read_config(folder / CONFIG, BundleConfig)
    if out.exists():
        raise UserError(f"--out {out}: is there already; name a new folder")
    (out / "models").mkdir(parents=True)
    for name in (WEIGHTS, CONFIG, CARD):
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / "models" / name)
    for name, task in TASKS.items():
        write_json(RUNNER | task, out / "configs" / f"{name}.json")
    write_json(_metadata(config), out / "configs" / "metadata.json")


def _metadata(config: BundleConfig) -> dict[str, Any]:
    return {
        "name": config.name,
        "version": __version__,
        "changelog": {__version__: f"exported by meddiff {__version__}"},
        "monai_version": "1.6.1",
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"meddiff-fm": __version__, "SimpleITK": version("SimpleITK")},
        "task": "CT synthesis from anatomy masks, CT denoising, anomaly maps",
        "description": f"3-D diffusion model of CT at {config.spacing_mm:g} mm; anatomy by TotalSegmentator's labels",
        "authors": "the project MedDiff-FM",
        "copyright": "see models/README.md",
        "intended_use": "research; not a medical device",
        "network_data_format": {
            "inputs": {"anatomy": {"type": "label", "format": "segmentation", "modality": "CT"}},
            "outputs": {"result": {"type": "image", "format": "hounsfield", "modality": "CT"}},
        },
    }
