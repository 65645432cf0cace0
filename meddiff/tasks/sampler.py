"""A model that is loaded and ready for whole volumes: what all tasks begin with."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meddiff.config import MODEL_REGIONS, MachineConfig, Region, SamplingConfig
from meddiff.diffusion.sampling import Level, levels_of
from meddiff.diffusion.sliding import Condition, Network, Place, SlidingWindows
from meddiff.errors import UserError
from meddiff.machine.device import choose_device, has_bfloat16, has_int8
from meddiff.machine.files import digest, sha256
from meddiff.model.control_bundle import CONTROL_WEIGHTS, load_controlled
from meddiff.model.controlnet import ControlledUNet
from meddiff.model.foundation import WEIGHTS, FoundationModel, find_bundle, recipe_of
from meddiff.model.graphed import Graphed
from meddiff.model.int8 import in_integers
from meddiff.model.unet import UNet
from meddiff.volumes.hu import air_scaled


class Sampler:
    """A model in the configured precision, on every device that shares the work.

    Args:
        bundle: folder of a model bundle, or its id on the Hugging Face hub.
        config: solver, steps, windows; those of a few-step model are its own.
        machine: device, GPUs, memory.
        control: folder of a ControlNet's bundle; the model then needs a target condition.

    Raises:
        UserError: there is no such bundle, the ControlNet belongs to another model, or there are fewer GPUs than
            configured.
    """

    def __init__(
        self, bundle: Path | str, config: SamplingConfig, machine: MachineConfig, control: Path | None = None
    ) -> None:
        folder = find_bundle(bundle)
        first = choose_device(machine.device, machine.gpus)
        precision = torch.bfloat16 if config.bfloat16 and has_bfloat16(first.type) else torch.float32
        if control:
            self.model = load_controlled(control, folder, first, precision)
            self.weights = control / CONTROL_WEIGHTS
        else:
            self.model = FoundationModel.from_pretrained(folder, first, precision)
            self.weights = folder / WEIGHTS
        self.config, self._machine = self.model.recipe(config), machine
        if self.config.int8 and precision == torch.bfloat16 and has_int8(first.type):
            in_integers(self.model.network)
        recipe = recipe_of(self.model.sampling)
        self.checksum = digest([sha256(self.weights), recipe]) if recipe else sha256(self.weights)
        self._networks = _on_every_device(self.model.network, machine)

    @property
    def identity(self) -> list[Any]:
        """What the voxels depend on beside scan and seed."""
        return [self.checksum, self.config.model_dump(mode="json")]

    def preview(self) -> "Sampler":
        """Return what draws a region in one window alone: its first level, coarse to fine."""
        quick = copy.copy(self)
        quick.config = self.config.model_copy(update={"sampler": "preview"})
        return quick

    @property
    def patch_vox(self) -> int:
        return self.model.network.config.patch_vox

    def windows(
        self, anatomy_zyx: np.ndarray, region: Region, seed: int = 0, place: Place | None = None, **target: Any
    ) -> SlidingWindows:
        """Return the model's estimate for a volume with this anatomy (label ids, uint8).

        `target_ZYX` and `target_outside` are those of `Condition`, for a model with a ControlNet.
        """
        condition = self._condition(anatomy_zyx, region, place, **target)
        return SlidingWindows(self._networks, self.model.diffusion, condition, self.config, seed, self._machine)

    def levels(self, anatomy_zyx: np.ndarray, region: Region, seed: int = 0) -> list[Level]:
        """Return the way from noise to a whole region with this anatomy, as configured."""
        condition = self._condition(anatomy_zyx, region)
        return levels_of(self._networks, self.model.diffusion, condition, self.config, seed, self._machine)

    def _condition(
        self, anatomy_zyx: np.ndarray, region: Region, place: Place | None = None, **target: Any
    ) -> Condition:
        air = air_scaled(self.model.windows.for_region(region))
        return Condition(torch.from_numpy(anatomy_zyx), MODEL_REGIONS.index(region), place, air=air, **target)


def _on_every_device(network: UNet | ControlledUNet, machine: MachineConfig) -> Sequence[Network]:
    networks = [network]
    if next(network.parameters()).is_cuda:
        if machine.gpus > torch.cuda.device_count():
            raise UserError(f"machine.gpus is {machine.gpus} and torch sees {torch.cuda.device_count()}")
        networks += [copy.deepcopy(network).to(f"cuda:{number}") for number in range(1, machine.gpus)]
        if machine.cuda_graphs:
            return [Graphed(each) for each in networks]
    if machine.compile:
        for each in networks:
            each.compile()
    return networks
