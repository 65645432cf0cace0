"""Tiny bundles in the place of those that come with the package."""

from pathlib import Path

import torch

from meddiff.config import DiffusionConfig, NetworkConfig, WindowsConfig
from meddiff.model.control_bundle import save_control
from meddiff.model.controlnet import ControlNet
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet

SMALL = NetworkConfig(patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4)
SPACING_MM = 6.0
TRAINING = {
    "steps": 7,
    "samples_per_step": 4,
    "epochs": 14.0,
    "seed": 0,
    "regions_per_dataset": {"demo-chest": 2},
    "run": "r",
    "anatomy_weights": "demo",
    "validation": {"chest/patch": 0.25},
}


def write_model(folder: Path, seed: int = 0, name: str = "tiny") -> Path:
    torch.manual_seed(seed)
    network = UNet(SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    FoundationModel(network, DiffusionConfig(prediction="v"), name, SPACING_MM, WindowsConfig()).save(folder, TRAINING)
    return folder


def write_control(folder: Path, foundation: Path, **facts: int) -> Path:
    torch.manual_seed(9)
    control = ControlNet.from_unet(FoundationModel.from_pretrained(foundation).network)
    for parameter in control.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_control(control, foundation, "tiny, controlled", TRAINING | facts, folder)
    return folder
