"""What a training begins with where that is the weights of a bundle: `training.start_from` and `finetuning.start_from`.

Choice: weights alone. Optimizer and learning rate begin anew; patch, spacing and windows may differ, and so may the
foundation model that a ControlNet was trained with.
"""

from pathlib import Path
from typing import Any

from meddiff.config import DiffusionConfig
from meddiff.errors import UserError
from meddiff.model.control_bundle import load_control, slice_factor
from meddiff.model.controlnet import ControlNet
from meddiff.model.foundation import FoundationModel, find_bundle
from meddiff.model.unet import UNet
from meddiff.weights import SHIPPED, shipped_bundle


def starting_bundle(start_from: str | None, name: str) -> Path | None:
    """Return the bundle that the pretraining of a model begins with; None is none.

    Raises:
        UserError: there is no such bundle.
    """
    if start_from is None:
        return None
    return _shipped("training", name) if start_from == SHIPPED else find_bundle(start_from.format(model=name))


def starting_control(start_from: str | None, name: str, factor: int | None) -> Path | None:
    """Return the bundle that the training of a ControlNet begins with; None is none.

    Args:
        start_from: of the configuration.
        name: one of `meddiff.weights.CONTROLS`.
        factor: of the thick slices; None for lesions.

    Raises:
        UserError: there is no such bundle, or it is for something else.
    """
    if start_from is None:
        return None
    folder = _shipped("finetuning", name) if start_from == SHIPPED else Path(start_from.format(model=name))
    _check_same(f"finetuning.start_from {folder}", {"factor": slice_factor(folder)}, {"factor": factor})
    return folder


def begin_with_model(network: UNet, bundle: Path, diffusion: DiffusionConfig) -> None:
    """Give the network a trained model's weights.

    Raises:
        UserError: the model has other sizes, or estimates something else.
    """
    model = FoundationModel.from_pretrained(bundle)
    kinds = ((model.network, model.diffusion), (network, diffusion))
    given, wanted = (_sizes(network) | {"prediction": d.prediction} for network, d in kinds)
    _check_same(f"training.start_from {bundle}", given, wanted)
    network.load_state_dict(model.network.state_dict())


def begin_with_control(control: ControlNet, bundle: Path) -> None:
    """Give a ControlNet the weights of a trained one.

    Raises:
        UserError: that one has other sizes.
    """
    trained = load_control(bundle)
    _check_same(f"finetuning.start_from {bundle}", _sizes(trained), _sizes(control))
    control.load_state_dict(trained.state_dict())


def _shipped(section: str, name: str) -> Path:
    try:
        return shipped_bundle(name)
    except UserError as error:
        raise UserError(f"{section}.start_from {SHIPPED}: {error}; none trains from nothing") from None


def _sizes(network: UNet | ControlNet) -> dict[str, Any]:
    return network.config.model_dump(exclude={"patch_vox"})


def _check_same(start: str, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    if other := [f"{key} {given[key]} (here {wanted[key]})" for key in wanted if wanted[key] != given[key]]:
        raise UserError(f"{start}: a model with {', '.join(other)}; take its values, or train from nothing")
