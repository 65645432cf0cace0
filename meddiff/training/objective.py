"""What training minimises: the L1 loss of Eq. 1 and 2, and those of distillation to few steps."""

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
    timesteps a part cannot be seen (an eighth of that on a GPU with kernels, see `kernels_image`). Scans are noisier
    than that in any window, and no task begins at these timesteps.

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

    def ddim_step(self, batch: Sample, x_t: Tensor, t_B: Tensor, next_t_B: Tensor) -> Tensor:
        """Return x at an earlier timestep by one step of DDIM, with x_0 clipped as in sampling."""
        estimate = _estimate(self.whole, batch, x_t, t_B).float()
        x0 = self.schedule.to_x0(self.prediction, estimate, x_t, t_B).clamp(-1, 1)
        return self.schedule.ddim_step(x0, x_t, t_B, next_t_B)

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
        teacher: the network that is halved, and what it estimates; it does not change.
        prediction: what the student estimates: `v` or `sample`.
        steps: of the student.
        teacher_steps: of the teacher; twice as many.
    """

    solver, spacing = "ddim", "trailing"  # those that it learns

    def __init__(self, student: nn.Module, teacher: Objective, prediction: str, steps: int, teacher_steps: int) -> None:
        super().__init__(student, teacher.schedule, prediction)
        self.teacher = teacher.requires_grad_(False)
        self.sample_steps, self.teacher_steps = steps, teacher_steps

    def with_network(self, network: nn.Module) -> "Distillation":
        return type(self)(network, self.teacher, self.prediction, self.sample_steps, self.teacher_steps)

    def forward(self, batch: Sample, noising: Noising) -> Tensor:
        """Return the mean absolute error of the student's estimate for each sample, (B), float32.

        The timesteps of `noising` are moved to those at which the student learns.
        """
        noise, drawn_B = noising
        t_B, next_B, end_B = self._way(drawn_B)
        x_t = self.schedule.add_noise(batch.image, noise, t_B)
        with torch.no_grad():
            x_end = self._to_end(batch, self.teacher.ddim_step(batch, x_t, t_B, next_B), next_B, end_B)
            x0 = self._single_step_x0(x_t, x_end, t_B, end_B)
            target = self.schedule.target(self.prediction, x0, self.schedule.noise(x0, x_t, t_B), t_B)
        return self._error(batch, x_t, t_B, target)

    def _way(self, drawn_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the timesteps of one step of the student: where it begins, after the teacher's first step, its end."""
        step_B = drawn_B * self.sample_steps // self.schedule.timesteps
        return self._boundary(2 * step_B), self._boundary(2 * step_B + 1), self._boundary(2 * step_B + 2)

    def _to_end(self, batch: Sample, x: Tensor, t_B: Tensor, end_B: Tensor) -> Tensor:
        """Return x at the end of the student's step from where the teacher's first step led."""
        return self.teacher.ddim_step(batch, x, t_B, end_B)

    def _boundary(self, teacher_steps_B: Tensor) -> Tensor:
        """Return the timestep after so many steps of the teacher; those of all halvings lie within each other."""
        return (self.schedule.timesteps * (1 - teacher_steps_B / self.teacher_steps)).round().long() - 1

    def _single_step_x0(self, x_t: Tensor, x_end: Tensor, t_B: Tensor, end_B: Tensor) -> Tensor:
        alpha, sigma = self.schedule.coefficients(t_B)
        alpha_end, sigma_end = self.schedule.coefficients(end_B)
        ratio = sigma_end / sigma
        return (x_end - ratio * x_t) / (alpha_end - ratio * alpha)


class Consistency(Distillation):
    """Multistep consistency distillation: all that lies on one way of the teacher shall lead the student to its end.

    Heek et al. 2024, Algorithm 1, of which progressive distillation is the case of two steps: the time is cut into the
    student's steps. From any of the teacher's timesteps the teacher takes one step, the student itself leads from there
    to the end of its own, and that is its target. The teacher's last step before each end is a target without the
    student, from where what is right spreads to earlier timesteps.

    Choice: steps of DDIM, without the paper's correction of their noise, and a teacher's grid that stays as it is.
    """

    def _way(self, drawn_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        done_B = drawn_B * self.teacher_steps // self.schedule.timesteps
        length = self.teacher_steps // self.sample_steps
        return self._boundary(done_B), self._boundary(done_B + 1), self._boundary((done_B // length + 1) * length)

    def _to_end(self, batch: Sample, x: Tensor, t_B: Tensor, end_B: Tensor) -> Tensor:
        is_there = (t_B == end_B).view(-1, 1, 1, 1, 1)
        return x.where(is_there, self.ddim_step(batch, x, t_B.clamp(min=0), end_B))


def _estimate(network: nn.Module, batch: Sample, x_t: Tensor, t_B: Tensor) -> Tensor:
    condition = network.encode_condition(batch.anatomy, batch.coordinates, batch.target)  # type: ignore[operator]
    return network(x_t, t_B, batch.region, condition)
