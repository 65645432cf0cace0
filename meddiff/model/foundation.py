"""The foundation model as it is saved and loaded: weights, configuration and a model card in one folder."""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from meddiff.anatomy.appearance import KnownScans
from meddiff.config import AnatomyConfig, DiffusionConfig, NetworkConfig, Region, SamplingConfig, WindowsConfig
from meddiff.config.tree import parse_section
from meddiff.errors import UserError
from meddiff.machine.files import temporary_beside, write_json, write_text
from meddiff.model.blocks import parameter_count
from meddiff.model.bundle_files import BundleConfig, read_config, read_weights
from meddiff.model.card import model_card
from meddiff.model.unet import UNet

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
OF_WINDOWS = {"windows", "overlap", "drawing_overlap"}  # keys of a recipe that were measured together
OF_SOLVER = {"steps", "spacing", "last_noise"}


@dataclass(frozen=True)
class FoundationModel:
    """A network with what it was trained for: the diffusion process, the voxel size and the HU windows.

    The network of a fine-tuned model is a `ControlledUNet`, which has the interface of a U-Net
    (`control_bundle.load_controlled`).

    A model that was distilled draws in `steps` steps of DDIM; None is one that is free to use any solver. `scans` is
    what those of its training look like; an older bundle does not say. What is set in `sampling` was measured as good
    for this model.
    """

    network: UNet
    diffusion: DiffusionConfig
    name: str
    spacing_mm: float
    windows: WindowsConfig
    steps: int | None = None
    scans: dict[Region, KnownScans] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    @classmethod
    def from_pretrained(
        cls, source: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "FoundationModel":
        """Read a model bundle from a folder, or from a repository of the Hugging Face hub by its id.

        Args:
            source: the folder or the id.
            device: where the network shall live.
            dtype: what it shall compute in; with bfloat16 it is about twice as fast and differs by its rounding.

        Raises:
            UserError: there is no bundle, a file of it is damaged or of another version, or its weights do not fit its
                configuration; says which key or shape.
        """
        folder = find_bundle(source)
        config = read_config(folder / CONFIG, BundleConfig)
        network = UNet(config.network)
        weights = read_weights(folder / WEIGHTS)
        check_fit(folder / WEIGHTS, network, weights)
        network.load_state_dict(weights)
        network = network.to(device, dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        purpose = (config.spacing_mm, config.windows, config.steps, config.scans, config.sampling)
        return cls(network.eval(), config.diffusion, config.name, *purpose)

    def recipe(self, config: SamplingConfig) -> SamplingConfig:
        """Return how to sample from this model: as configured, and by its own recipe where that is silent.

        Where windows or their overlap are configured, nothing of the recipe's windows counts; where another solver is
        than the recipe's, nothing of its steps. The steps of one that was distilled are its own.

        Raises:
            UserError: the two contradict each other.
        """
        silent = self.sampling.model_fields_set - config.model_fields_set
        if config.model_fields_set & {"windows", "overlap"}:
            silent -= OF_WINDOWS
        found, prediction = self._filled(config, silent), self.diffusion.prediction
        if hasattr(config, "solver") and found.recipe(prediction).solver != self.sampling.recipe(prediction).solver:
            found = self._filled(config, silent - OF_SOLVER)
        if self.steps is not None:
            return found.model_copy(update={"solver": "ddim", "spacing": "trailing", "steps": self.steps})
        parse_section(SamplingConfig, found.model_dump(exclude_unset=True), f"sampling, with {self.name}'s own recipe")
        return found

    def _filled(self, config: SamplingConfig, silent: set[str]) -> SamplingConfig:
        """Return a configuration with these keys of the recipe, as far as it may have them; a stage reads few."""
        return config.model_copy(update={key: getattr(self.sampling, key) for key in silent if hasattr(config, key)})

    def save(self, folder: Path, training: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
        """Write the bundle.

        Args:
            folder: of the bundle.
            training: how the model was made; goes into configuration and card.
            dtype: of the weights; a bundle in half precision is loaded as any other.
        """
        save_weights(self.network, folder / WEIGHTS, dtype)
        self.describe(folder, training)

    def describe(self, folder: Path, training: dict[str, Any]) -> None:
        """Write configuration and card of a bundle whose weights are there."""
        config = {
            "name": self.name,
            "network": self.network.config.model_dump(),
            "diffusion": self.diffusion.model_dump(),
            "spacing_mm": self.spacing_mm,
            "windows": self.windows.model_dump(),
            "steps": self.steps,
            "scans": {region: asdict(scans) for region, scans in self.scans.items()},
            "sampling": recipe_of(self.sampling),
            "training": training,
        }
        write_text(self._card(training), folder / CARD)
        write_json(config, folder / CONFIG)

    def _card(self, training: dict[str, Any]) -> str:
        facts = [
            f"Parameters: {parameter_count(self.network):,}",
            f"Patch: {self.network.config.patch_vox}^3 voxels of {self.spacing_mm:g} mm",
            f"Estimates: {self.diffusion.prediction}, T = {self.diffusion.timesteps}, cosine schedule",
            f"Sampling: {recipe_in_words(self.steps, self.sampling)}",
            *(f"Looked at: {scans.described(region)}" for region, scans in self.scans.items()),
        ]
        return model_card(self.name, "A 3-D diffusion model for CT, made by MedDiff-FM.", facts, training)


def recipe_of(sampling: SamplingConfig) -> dict[str, Any]:
    """Return what a recipe sets, as plain values."""
    return sampling.model_dump(mode="json", exclude_unset=True)


def recipe_in_words(steps: int | None, sampling: SamplingConfig) -> str:
    """Return how a model is good to be sampled, as one line."""
    if steps is not None:
        return f"{steps} steps of DDIM (distilled)"
    return json.dumps(recipe_of(sampling)) if sampling.model_fields_set else "any solver"


def write_recipe(folder: Path, sampling: SamplingConfig) -> None:
    """Make what is set in a configuration of sampling a bundle's own recipe; its weights stay as they are.

    Raises:
        UserError: there is no bundle, or its model was distilled and has its own steps.
    """
    model, training = FoundationModel.from_pretrained(folder), read_config(folder / CONFIG, BundleConfig).training
    if model.steps is not None:
        raise UserError(f"{folder}: was distilled to {model.steps} steps of DDIM, which are its recipe")
    replace(model, sampling=sampling).describe(folder, training)


def read_recipe(source: Path | str) -> str:
    """Return the recipe of a bundle as one line, without reading its weights."""
    config = read_config(find_bundle(source) / CONFIG, BundleConfig)
    return recipe_in_words(config.steps, config.sampling)


def save_weights(network: nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Write the weights of a network as safetensors.

    Raises:
        UserError: a weight is too large for `dtype`.
    """
    from safetensors.torch import save_file

    weights = {name: tensor.to(dtype).contiguous().cpu() for name, tensor in network.state_dict().items()}
    if large := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise UserError(f"{path}: {', '.join(large)} has values that {dtype} does not hold")
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        save_file(weights, str(temporary))


def find_bundle(source: Path | str) -> Path:
    """Return the folder of a bundle; a repository id, `owner/name`, that is no folder here is fetched from the hub.

    Raises:
        UserError: there is no bundle.
    """
    folder = Path(source)
    if not folder.is_dir() and HUB_ID.fullmatch(str(source)):
        folder = _from_hub(str(source))
    if not (folder / CONFIG).exists() or not (folder / WEIGHTS).exists():
        raise UserError(f"{folder}: no model bundle; expected {WEIGHTS} and {CONFIG} in it")
    return folder


def read_network_config(source: Path | str) -> NetworkConfig:
    """Return the sizes of a bundle's network without reading its weights."""
    return read_config(find_bundle(source) / CONFIG, BundleConfig).network


def read_anatomy_config(source: Path | str) -> AnatomyConfig:
    """Return which weights of TotalSegmentator a bundle's model knows its anatomy from."""
    weights = read_config(find_bundle(source) / CONFIG, BundleConfig).training.get("anatomy_weights")
    return AnatomyConfig(weights="demo", resolution="fastest") if weights == "demo" else AnatomyConfig()


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=[WEIGHTS, CONFIG, CARD]))
    except Exception as error:  # the hub's client raises errors of several libraries
        raise UserError(
            f"{repository}: no such folder, and the Hugging Face hub does not give it ({type(error).__name__}); "
            "check the name and the network, or download it and give its folder"
        ) from error


def check_fit(path: Path, network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Refuse weights that are not those of the network.

    Raises:
        UserError: says which key or shape does not fit.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise UserError(
                f"{path}: {name} is {given.get(name, 'missing')} but the configuration needs "
                f"{wanted.get(name, 'no such key')}; weights and {CONFIG} are not of the same model"
            )
