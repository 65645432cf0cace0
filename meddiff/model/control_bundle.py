"""A ControlNet as it is saved and loaded: its own weights, and the hash of the foundation model that they belong to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from meddiff.errors import UserError
from meddiff.machine.files import sha256, write_json, write_text
from meddiff.model.bundle_files import ControlConfig, read_config, read_weights
from meddiff.model.card import model_card
from meddiff.model.controlnet import ControlledUNet, ControlNet
from meddiff.model.foundation import CARD, CONFIG, WEIGHTS, FoundationModel, check_fit, find_bundle, save_weights

CONTROL_WEIGHTS = "control.safetensors"


def save_control(
    control: ControlNet,
    foundation: Path,
    name: str,
    training: dict[str, Any],
    folder: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a ControlNet's bundle.

    Args:
        control: the network.
        foundation: bundle of the model that it was trained with.
        name: of the controlled model.
        training: how it was made; goes into configuration and card.
        folder: of the bundle.
        dtype: of the weights.
    """
    save_weights(control, folder / CONTROL_WEIGHTS, dtype)
    checksum = sha256(foundation / WEIGHTS)
    facts = (f"Foundation model: {WEIGHTS} with sha256 {checksum}",)
    what = "A ControlNet for a MedDiff-FM model; of no use without it."
    write_text(model_card(name, what, facts, training), folder / CARD)
    config = {"name": name, "network": control.config.model_dump(), "foundation": checksum, "training": training}
    write_json(config, folder / CONFIG)


def load_control(folder: Path) -> ControlNet:
    """Return the ControlNet of a bundle.

    Raises:
        UserError: there is no such bundle, or its weights do not fit.
    """
    control = ControlNet(read_control_config(folder).network)
    weights = read_weights(folder / CONTROL_WEIGHTS)
    check_fit(folder / CONTROL_WEIGHTS, control, weights)
    control.load_state_dict(weights)
    return control


def load_controlled(
    folder: Path, foundation: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> FoundationModel:
    """Return a foundation model under the control of a ControlNet.

    Args:
        folder: the ControlNet's bundle.
        foundation: the foundation model's bundle.
        device: where the networks shall live.
        dtype: what they shall compute in.

    Raises:
        UserError: there is no such bundle, a file of it is damaged, it belongs to another foundation model, or its
            weights do not fit.
    """
    config, checksum = read_control_config(folder), sha256(find_bundle(foundation) / WEIGHTS)
    if config.foundation != checksum:
        raise UserError(
            f"{folder}: belongs to a foundation model with sha256 {config.foundation[:12]}..., and {foundation} has "
            f"{checksum[:12]}...; give the model it was trained with, or train it again"
        )
    model = FoundationModel.from_pretrained(foundation, device, dtype)
    control = load_control(folder).to(device, dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return replace(model, name=config.name, network=ControlledUNet(model.network, control).eval())  # type: ignore[arg-type]


def slice_factor(folder: Path) -> int | None:
    """Return how many thin slices of a thick one a ControlNet for super-resolution makes; None for one of lesions.

    Raises:
        UserError: there is no such bundle.
    """
    return read_control_config(folder).training.get("factor")


def learned_slices(folder: Path) -> str:
    """Return what thick slices a ControlNet for super-resolution has learned from: `measured` or `simulated`."""
    return read_control_config(folder).training.get("slices", "simulated")


def read_control_config(folder: Path) -> ControlConfig:
    """Return what a ControlNet's bundle says of it.

    Raises:
        UserError: there is no such bundle.
    """
    if not (folder / CONFIG).exists() or not (folder / CONTROL_WEIGHTS).exists():
        raise UserError(f"{folder}: no ControlNet; expected {CONTROL_WEIGHTS} and {CONFIG} in it")
    return read_config(folder / CONFIG, ControlConfig)
