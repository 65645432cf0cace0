"""What training minimises: the L1 loss of Eq. 1."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.data.patches import Sample
from meddiff.diffusion.schedule import Schedule


class Noising(NamedTuple):
    """The random part of a loss: noise (B, 1, Z, Y, X) and timesteps (B)."""

    noise_BCZYX: Tensor
    t_B: Tensor

    @classmethod
    def draw(cls, batch: Sample, timesteps: int, seed: int) -> "Noising":
        """Draw timesteps evenly from 0 to T - 1, and noise."""
        device = batch.image.device
        generator = torch.Generator(device).manual_seed(seed)
        t_B = torch.randint(timesteps, (len(batch.image),), generator=generator, device=device)
        return cls(torch.randn(batch.image.shape, generator=generator, device=device), t_B)


class Objective(nn.Module):
    """The loss of a network as a module, so that it can be shared over processes as a whole.

    Args:
        network: a network with the interface of `UNet`.
        schedule: the noise schedule, on the network's device.
        prediction: what the network estimates: `epsilon`, `v` or `sample`.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, prediction: str) -> None:
        super().__init__()
        self.network, self.schedule, self.prediction = network, schedule, prediction

    def forward(self, batch: Sample, noising: Noising) -> Tensor:
        """Return the mean absolute error of the estimate for each sample, (B), float32."""
        noise, t_B = noising
        x_t = self.schedule.add_noise(batch.image, noise, t_B)
        condition = self.network.encode_condition(batch.anatomy, batch.coordinates)  # type: ignore[operator]
        estimate = self.network(x_t, t_B, batch.region, condition)
        target = self.schedule.target(self.prediction, batch.image, noise, t_B)
        return F.l1_loss(estimate.float(), target, reduction="none").mean((1, 2, 3, 4))
