"""What training minimises: the L1 loss of Eq. 1 and 2, and that of progressive distillation."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.diffusion.schedule import Schedule
from meddiff.model.controlnet import ControlledUNet, ControlNet
from meddiff.model.unet import UNet
from meddiff.store.patches import Sample


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
    """The loss of a network, as a module.

    Choice: x_t is made in float32 and enters the network under autocast. In bfloat16 that rounds it to steps of 0.004
    below 1 and of 0.008 above, while sigma_t is 0.006 at t = 0 and 0.027 at t = 10: of the noise of the first ten
    timesteps a part cannot be seen.

    Args:
        network: a network with the interface of `UNet`.
        schedule: the noise schedule, on the network's device.
        prediction: what the network estimates: `epsilon`, `v` or `sample`.
    """

    # How the sample images are drawn; few steps even in log-SNR do for every kind of estimate.
    solver, sample_steps, spacing = "dpm-solver++", 20, "log-snr"

    def __init__(self, network: nn.Module, schedule: Schedule, prediction: str) -> None:
        super().__init__()
        self.network, self.schedule, self.prediction = network, schedule, prediction

    def with_network(self, network: nn.Module) -> "Objective":
        """Return the same loss of another network."""
        return Objective(network, self.schedule, self.prediction)

    @property
    def whole(self) -> nn.Module:
        """The network whose estimate counts: the one that learns, and what it learns with."""
        return self.network

    def forward(self, batch: Sample, noising: Noising) -> Tensor:
        """Return the mean absolute error of the estimate for each sample, (B), float32."""
        noise, t_B = noising
        x_t = self.schedule.add_noise(batch.image, noise, t_B)
        return self._error(batch, x_t, t_B, self.schedule.target(self.prediction, batch.image, noise, t_B))

    def _error(self, batch: Sample, x_t: Tensor, t_B: Tensor, target: Tensor) -> Tensor:
        estimate = _estimate(self.whole, batch, x_t, t_B)
        return F.l1_loss(estimate.float(), target, reduction="none").mean((1, 2, 3, 4))


class Finetuning(Objective):
    """The loss of Eq. 2: a ControlNet learns, with a foundation model that stays as it is.

    Args:
        control: the network that learns.
        foundation: the network that is controlled.
        schedule: the noise schedule.
        prediction: what the foundation model estimates.
    """

    def __init__(self, control: ControlNet, foundation: UNet, schedule: Schedule, prediction: str) -> None:
        super().__init__(control, schedule, prediction)
        self._whole = ControlledUNet(foundation.requires_grad_(False), control)

    def with_network(self, network: nn.Module) -> "Finetuning":
        return Finetuning(network, self._whole.unet, self.schedule, self.prediction)  # type: ignore[arg-type]

    @property
    def whole(self) -> nn.Module:
        return self._whole


class Distillation(Objective):
    """Progressive distillation: one step of the student shall do what two of its teacher do.

    Salimans and Ho 2022, Algorithm 2: the teacher takes two steps of DDIM from x_t, and the student's target is the
    x_0 whose single step ends at the same place.

    Args:
        student: the network that learns.
        teacher: the network that is halved; it does not change.
        schedule: the noise schedule.
        prediction: what the student estimates: `v` or `sample`.
        teacher_prediction: what the teacher estimates.
        steps: of the student; twice as many of the teacher.
    """

    solver, spacing = "ddim", "trailing"  # those that it learns

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        schedule: Schedule,
        prediction: str,
        teacher_prediction: str,
        steps: int,
    ) -> None:
        super().__init__(student, schedule, prediction)
        self.teacher = teacher.requires_grad_(False)
        self.teacher_prediction, self.sample_steps = teacher_prediction, steps

    def with_network(self, network: nn.Module) -> "Distillation":
        return Distillation(
            network, self.teacher, self.schedule, self.prediction, self.teacher_prediction, self.sample_steps
        )

    def forward(self, batch: Sample, noising: Noising) -> Tensor:
        """Return the mean absolute error of the student's estimate for each sample, (B), float32.

        The timesteps of `noising` are moved to the student's own.
        """
        noise, drawn_B = noising
        step_B = drawn_B * self.sample_steps // self.schedule.timesteps
        t_B, middle_B, end_B = (self._boundary(2 * step_B + half) for half in (0, 1, 2))
        x_t = self.schedule.add_noise(batch.image, noise, t_B)
        with torch.no_grad():
            x_end = self._teach(batch, self._teach(batch, x_t, t_B, middle_B), middle_B, end_B)
            x0 = self._single_step_x0(x_t, x_end, t_B, end_B)
            target = self.schedule.target(self.prediction, x0, self.schedule.noise(x0, x_t, t_B), t_B)
        return self._error(batch, x_t, t_B, target)

    def _boundary(self, half_steps_B: Tensor) -> Tensor:
        """Return the timestep after so many steps of the teacher; those of all halvings lie within each other."""
        return (self.schedule.timesteps * (1 - half_steps_B / (2 * self.sample_steps))).round().long() - 1

    def _teach(self, batch: Sample, x_t: Tensor, t_B: Tensor, next_t_B: Tensor) -> Tensor:
        """Take one of the teacher's steps, with x_0 clipped as in sampling."""
        estimate = _estimate(self.teacher, batch, x_t, t_B).float()
        x0 = self.schedule.to_x0(self.teacher_prediction, estimate, x_t, t_B).clamp(-1, 1)
        return self.schedule.ddim_step(x0, x_t, t_B, next_t_B)

    def _single_step_x0(self, x_t: Tensor, x_end: Tensor, t_B: Tensor, end_B: Tensor) -> Tensor:
        alpha, sigma = self.schedule.coefficients(t_B)
        alpha_end, sigma_end = self.schedule.coefficients(end_B)
        ratio = sigma_end / sigma
        return (x_end - ratio * x_t) / (alpha_end - ratio * alpha)


def _estimate(network: nn.Module, batch: Sample, x_t: Tensor, t_B: Tensor) -> Tensor:
    condition = network.encode_condition(batch.anatomy, batch.coordinates, batch.target)  # type: ignore[operator]
    return network(x_t, t_B, batch.region, condition)
