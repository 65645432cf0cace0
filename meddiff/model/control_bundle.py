"""A ControlNet as it is saved and loaded: its own weights, and the hash of the foundation model that they belong to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from meddiff.errors import UserError
from meddiff.machine.files import sha256, temporary_beside, write_json, write_text
from meddiff.model.bundle_files import ControlConfig, read_config, read_weights
from meddiff.model.controlnet import ControlledUNet, ControlNet
from meddiff.model.foundation import CARD, CONFIG, WEIGHTS, MedDiffFM, check_fit, find_bundle

CONTROL_WEIGHTS = "control.safetensors"


def save_control(control: ControlNet, foundation: Path, name: str, training: dict[str, Any], folder: Path) -> None:
    """Write a ControlNet's bundle.

    Args:
        control: the network.
        foundation: bundle of the model that it was trained with.
        name: of the controlled model.
        training: how it was made; goes into configuration and card.
        folder: of the bundle.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.contiguous().cpu() for key, tensor in control.state_dict().items()}
    with temporary_beside(folder / CONTROL_WEIGHTS) as temporary:
        save_file(weights, str(temporary))
    checksum = sha256(foundation / WEIGHTS)
    losses = ", ".join(f"{key} {loss:.4f}" for key, loss in training["validation"].items())
    card = (
        f"# {name}\n\nA ControlNet for a MedDiff-FM model; of no use without it.\n\n"
        f"- Foundation model: {WEIGHTS} with sha256 {checksum}\n"
        f"- Training: {training['steps']:,} steps of {training['samples_per_step']} samples, "
        f"{training['epochs']:.4g} epochs, seed {training['seed']}\n"
        f"- Validation loss (L1): {losses or 'no validation split'}\n"
        f"- Data (regions): {training['regions_per_dataset']}\n\n"
        "Intended use: research on CT images. Not for diagnosis or treatment. The licences of the training data apply "
        "to what is made from them.\n"
    )
    write_text(card, folder / CARD)
    config = {"name": name, "network": control.config.model_dump(), "foundation": checksum, "training": training}
    write_json(config, folder / CONFIG)


def load_controlled(
    folder: Path, foundation: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> MedDiffFM:
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
    config, checksum = _read_config(folder), sha256(find_bundle(foundation) / WEIGHTS)
    if config.foundation != checksum:
        raise UserError(
            f"{folder}: belongs to a foundation model with sha256 {config.foundation[:12]}..., and {foundation} has "
            f"{checksum[:12]}...; give the model it was trained with, or train it again"
        )
    control = ControlNet(config.network)
    weights = read_weights(folder / CONTROL_WEIGHTS)
    check_fit(folder / CONTROL_WEIGHTS, control, weights)
    control.load_state_dict(weights)
    model = MedDiffFM.from_pretrained(foundation, device, dtype)
    control = control.to(device, dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return replace(model, name=config.name, network=ControlledUNet(model.network, control).eval())  # type: ignore[arg-type]


def slice_factor(folder: Path) -> int | None:
    """Return how many thin slices of a thick one a ControlNet for super-resolution makes; None for one of lesions.

    Raises:
        UserError: there is no such bundle.
    """
    return _read_config(folder).training.get("factor")


def learned_slices(folder: Path) -> str:
    """Return what thick slices a ControlNet for super-resolution has learned from: `measured` or `simulated`."""
    return _read_config(folder).training.get("slices", "simulated")


def _read_config(folder: Path) -> ControlConfig:
    if not (folder / CONFIG).exists() or not (folder / CONTROL_WEIGHTS).exists():
        raise UserError(f"{folder}: no ControlNet; expected {CONTROL_WEIGHTS} and {CONFIG} in it")
    return read_config(folder / CONFIG, ControlConfig)
