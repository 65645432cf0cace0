"""Bundles in half precision, in one folder with their checksums: the form in which models come with the package."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from meddiff.anatomy.appearance import KnownScans
from meddiff.config import Region
from meddiff.errors import UserError
from meddiff.machine.files import sha256, write_json
from meddiff.model.bundle_files import BundleConfig, read_config
from meddiff.model.control_bundle import CONTROL_WEIGHTS, load_control, read_control_config, save_control
from meddiff.model.foundation import CONFIG, WEIGHTS, FoundationModel, find_bundle
from meddiff.weights import CHECKSUMS

LARGEST_MB = 40  # of all files together, so that the package stays one that is quickly installed


def pack(bundles: Mapping[str, Path], out: Path, scans: Mapping[Region, KnownScans] | None = None) -> dict[str, float]:
    """Write bundles in half precision, and the sha256 of all their files.

    A ControlNet belongs to its model in half precision then, and needs that among the bundles.

    Args:
        bundles: name -> folder of a model or of a ControlNet; each goes into a folder of its name.
        out: where to write.
        scans: what those of the training look like, for bundles that do not say.

    Returns:
        The size of each bundle in MB.

    Raises:
        UserError: a folder holds no bundle, a ControlNet comes without its model, a weight does not fit into half
            precision, or the files are too large together.
    """
    controls = {name: folder for name, folder in bundles.items() if (folder / CONTROL_WEIGHTS).exists()}
    packed = {}  # sha256 of a model's weights -> its folder in half precision
    for name, folder in bundles.items():
        if name not in controls:
            packed[sha256(find_bundle(folder) / WEIGHTS)] = out / name
            facts = read_config(folder / CONFIG, BundleConfig).training
            model = FoundationModel.from_pretrained(folder)
            replace(model, scans=model.scans or dict(scans or {})).save(out / name, facts, torch.float16)
    for name, folder in controls.items():
        config = read_control_config(folder)
        if config.foundation not in packed:
            raise UserError(f"{name}={folder}: a ControlNet without its model; name the model that it was trained with")
        where = (packed[config.foundation], config.name, config.training, out / name)
        save_control(load_control(folder), *where, torch.float16)
    return _seal(list(bundles), out)


def _seal(names: list[str], out: Path) -> dict[str, float]:
    """Write the checksums of the bundles, and return their sizes."""
    files = {name: sorted((out / name).iterdir()) for name in names}
    sizes_mb = {name: sum(path.stat().st_size for path in paths) / 1e6 for name, paths in files.items()}
    if sum(sizes_mb.values()) > LARGEST_MB:
        listed = ", ".join(f"{name} {size:.1f}" for name, size in sizes_mb.items())
        raise UserError(f"{out}: the bundles have {listed} MB, and {LARGEST_MB} MB is the most; leave one out")
    write_json({str(p.relative_to(out)): sha256(p) for paths in files.values() for p in paths}, out / CHECKSUMS)
    return sizes_mb
