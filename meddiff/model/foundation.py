"""The foundation model as it is saved and loaded: weights, configuration and a model card in one folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from meddiff.config import DiffusionConfig, NetworkConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import UserError
from meddiff.files import read_json, temporary_beside, write_json, write_text
from meddiff.model.blocks import parameter_count
from meddiff.model.unet import UNet

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


@dataclass(frozen=True)
class MedDiffFM:
    """A network with the diffusion process it was trained for."""

    network: UNet
    diffusion: DiffusionConfig
    name: str

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def schedule(self) -> Schedule:
        return Schedule(self.diffusion.timesteps, self.device)

    @classmethod
    def from_pretrained(cls, folder: Path | str, device: torch.device | str = "cpu") -> "MedDiffFM":
        """Read a model bundle.

        Raises:
            UserError: the folder is no bundle, or its weights do not fit its configuration; says which key or shape.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        if not (folder / CONFIG).exists() or not (folder / WEIGHTS).exists():
            raise UserError(f"{folder}: no model bundle; expected {WEIGHTS} and {CONFIG} in it")
        config = read_json(folder / CONFIG)
        network = UNet(NetworkConfig(**config["network"]))
        weights = load_file(str(folder / WEIGHTS))
        _check_fit(folder, network, weights)
        network.load_state_dict(weights)
        network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return cls(network.eval(), DiffusionConfig(**config["diffusion"]), config["name"])

    def save(self, folder: Path, training: dict[str, Any]) -> None:
        """Write the bundle; `training` says how the model was made and goes into configuration and card."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.contiguous().cpu() for name, tensor in self.network.state_dict().items()}
        with temporary_beside(folder / WEIGHTS) as temporary:
            save_file(weights, str(temporary))
        config = {
            "name": self.name,
            "network": self.network.config.model_dump(),
            "diffusion": self.diffusion.model_dump(),
            "training": training,
        }
        write_text(self._card(training), folder / CARD)
        write_json(config, folder / CONFIG)

    def _card(self, training: dict[str, Any]) -> str:
        datasets = ", ".join(f"{name} ({count})" for name, count in training["regions_per_dataset"].items())
        return (
            f"# {self.name}\n\nA 3-D diffusion model for CT, made by MedDiff-FM.\n\n"
            f"- Parameters: {parameter_count(self.network):,}\n"
            f"- Patch: {self.network.config.patch_vox}^3 voxels of {training['spacing_mm']:g} mm\n"
            f"- Estimates: {self.diffusion.prediction}, T = {self.diffusion.timesteps}, cosine schedule\n"
            f"- Training: {training['steps']:,} steps, seed {training['seed']}\n"
            f"- Data (regions): {datasets}\n"
            f"- Anatomy from: TotalSegmentator with {training['anatomy_weights']} weights\n\n"
            "Intended use: research on CT images. Not for diagnosis or treatment. The licences of the training data "
            "apply to what is made from them.\n"
        )


def _check_fit(folder: Path, network: UNet, weights: dict[str, torch.Tensor]) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise UserError(
                f"{folder / WEIGHTS}: {name} is {given.get(name, 'missing')} but the configuration needs "
                f"{wanted.get(name, 'no such key')}; weights and {CONFIG} are not of the same model"
            )
