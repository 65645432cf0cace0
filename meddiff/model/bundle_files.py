"""The two files of a bundle as they arrive: cut off, of another version, or something else in their place."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from meddiff.anatomy.appearance import KnownScans
from meddiff.config import DiffusionConfig, NetworkConfig, Region, SamplingConfig, WindowsConfig
from meddiff.errors import UserError
from meddiff.machine.files import read_json

INSTEAD = {  # how a file begins that came in place of the weights
    b"version https://git-lfs": "a pointer of Git LFS, not the weights; get them with `git lfs pull`",
    b"<": "a web page, not the weights; download the file itself",
}


class BundleConfig(BaseModel):
    """`config.json` of a foundation model; the oldest bundles know no `steps`, older ones no `scans`.

    `sampling` has the keys alone that the model's recipe sets.
    """

    name: str
    network: NetworkConfig
    diffusion: DiffusionConfig
    spacing_mm: float
    windows: WindowsConfig
    steps: int | None = None
    scans: dict[Region, KnownScans] = {}
    sampling: SamplingConfig = SamplingConfig()
    training: dict[str, Any] = {}


class ControlConfig(BaseModel):
    """`config.json` of a ControlNet; `foundation` is the sha256 of the weights that it belongs to."""

    name: str
    network: NetworkConfig
    foundation: str
    training: dict[str, Any]


AnyConfig = TypeVar("AnyConfig", BundleConfig, ControlConfig)


def read_config(path: Path, kind: type[AnyConfig]) -> AnyConfig:
    """Return the configuration of a bundle.

    Raises:
        UserError: it is none, or one of another version of meddiff; says which key.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValueError as error:  # also of the encoding, of JSON and of pydantic
        raise UserError(
            f"{path}: not a bundle's configuration as this version of meddiff knows it ({_first_problem(error)}); "
            "bring the bundle again, or use the version that wrote it"
        ) from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        UserError: it is none, or cut off.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except SafetensorError as error:
        with path.open("rb") as file:
            start = file.read(64)
        found = next((words for begin, words in INSTEAD.items() if start.lstrip().startswith(begin)), None)
        raise UserError(f"{path}: {found or f'no whole safetensors file ({error}); bring it again'}") from error


def _first_problem(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
