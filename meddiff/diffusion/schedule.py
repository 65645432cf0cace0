"""The diffusion process: cosine schedule, noising, and the three things a network can estimate."""

import math

import torch
from torch import Tensor

MAX_BETA = 0.999


def cosine_alphas_cumprod(timesteps: int) -> Tensor:
    """Return abar_t for t = 0 to T - 1, float64: Nichol and Dhariwal's cosine schedule with s = 0.008."""
    edges = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    signal = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - signal[1:] / signal[:-1]).clamp(max=MAX_BETA)
    return torch.cumprod(1 - betas, dim=0)


class Schedule:
    """alpha_t = sqrt(abar_t) and sigma_t = sqrt(1 - abar_t), float32; x_t = alpha_t x_0 + sigma_t noise.

    t runs from 0 to T - 1, and -1 is the clean image.
    """

    def __init__(self, timesteps: int, device: torch.device | str = "cpu") -> None:
        self.timesteps = timesteps
        abar = torch.cat((cosine_alphas_cumprod(timesteps), torch.ones(1)))  # the last entry is that of -1
        self._alpha = abar.sqrt().float().to(device)
        self._sigma = (1 - abar).sqrt().float().to(device)

    def at(self, t: int) -> tuple[float, float]:
        """Return alpha_t and sigma_t as numbers."""
        return float(self._alpha[t]), float(self._sigma[t])

    @property
    def noise_to_signal(self) -> Tensor:
        """sigma_t / alpha_t of all timesteps, (T,), rising."""
        return (self._sigma / self._alpha)[:-1]

    @property
    def noise_range(self) -> tuple[float, float]:
        """The least and the most noise of a volume that lies on the schedule; half of the least still counts as it."""
        return float(self.noise_to_signal[0]) / 2, float(self.noise_to_signal[-1])

    def timestep_of(self, noise_std: float) -> int:
        """Return the timestep whose sigma_t / alpha_t is nearest: where x_t / alpha_t is x_0 with that much noise."""
        return int((self.noise_to_signal - noise_std).abs().argmin())

    def ancestral(self, t: int, next_t: int) -> tuple[float, float, float]:
        """Return the factors of x_0, x_t and noise in a draw of q(x_next | x_t, x_0) at an earlier timestep.

        Ho et al. 2020, Eq. 6 and 7, for any two timesteps.
        """
        (alpha, sigma), (next_alpha, next_sigma) = self.at(t), self.at(next_t)
        ratio = alpha / next_alpha
        added = sigma**2 - (ratio * next_sigma) ** 2  # variance of q(x_t | x_next)
        return next_alpha * added / sigma**2, ratio * next_sigma**2 / sigma**2, added**0.5 * next_sigma / sigma

    def coefficients(self, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, shape (B, 1, 1, 1, 1)."""
        shape = (-1, 1, 1, 1, 1)
        return self._alpha[t_B].view(shape), self._sigma[t_B].view(shape)

    def add_noise(self, x0_BCZYX: Tensor, noise_BCZYX: Tensor, t_B: Tensor) -> Tensor:
        """Return a draw of q(x_t | x_0)."""
        alpha, sigma = self.coefficients(t_B)
        return alpha * x0_BCZYX + sigma * noise_BCZYX

    def noise(self, x0_BCZYX: Tensor, x_BCZYX: Tensor, t_B: Tensor) -> Tensor:
        """Return the noise that x_0 leaves in x_t."""
        alpha, sigma = self.coefficients(t_B)
        return (x_BCZYX - alpha * x0_BCZYX) / sigma

    def ddim_step(self, x0_BCZYX: Tensor, x_BCZYX: Tensor, t_B: Tensor, next_t_B: Tensor) -> Tensor:
        """Return x at an earlier timestep by the deterministic step of DDIM (Song et al. 2021, Eq. 12, eta = 0)."""
        return self.add_noise(x0_BCZYX, self.noise(x0_BCZYX, x_BCZYX, t_B), next_t_B)

    def target(self, prediction: str, x0_BCZYX: Tensor, noise_BCZYX: Tensor, t_B: Tensor) -> Tensor:
        """Return what the network shall estimate: the noise (Eq. 1), v = alpha noise - sigma x_0, or x_0."""
        alpha, sigma = self.coefficients(t_B)
        if prediction == "epsilon":
            return noise_BCZYX
        return x0_BCZYX if prediction == "sample" else alpha * noise_BCZYX - sigma * x0_BCZYX

    def to_x0(self, prediction: str, estimate_BCZYX: Tensor, x_BCZYX: Tensor, t_B: Tensor) -> Tensor:
        """Return the x_0 that belongs to an estimate; it is linear in the estimate and not clipped."""
        alpha, sigma = self.coefficients(t_B)
        if prediction == "epsilon":
            return (x_BCZYX - sigma * estimate_BCZYX) / alpha
        return estimate_BCZYX if prediction == "sample" else alpha * x_BCZYX - sigma * estimate_BCZYX
