"""A Gaussian field whose best estimate is known at every level, for a window that sees nothing beyond its borders."""

import itertools
import math

import torch

from meddiff.config import DiffusionConfig, MachineConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.sampling import levels_of, sample_levels
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition
from meddiff.metrics.seams import seam_ratio

SIDE, PATCH = 32, 8
SPREAD, LENGTH_VOX, TEXTURE = 0.2, 6.0, 0.03  # of smooth parts, and of white noise
VOXELS = torch.arange(SIDE, dtype=torch.float64)
CORRELATION = torch.exp(
    -(VOXELS[:, None] - VOXELS).abs() / LENGTH_VOX
)  # of a row; a field's is the product of the axes'
FREQUENCY = torch.stack(torch.meshgrid(*[torch.fft.fftfreq(SIDE)] * 3, indexing="ij")).square().sum(0).sqrt()
EDGES = (0, 1 / 12, 1 / 6, 1 / 3, 1)  # waves of at least 12, 6 and 3 voxels, and finer ones
BANDS = [(low < FREQUENCY) & (high >= FREQUENCY) for low, high in itertools.pairwise(EDGES)]


class Field(torch.nn.Module):
    """The best estimate of v; which level a window is of, it reads from the coordinates."""

    config = NetworkConfig(patch_vox=PATCH, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.schedule = Schedule(1000)
        self.bases = {step: self._basis(step) for step in (1, 2, SIDE // PATCH)}

    @staticmethod
    def _basis(step):
        """Return the eigenvectors along an axis and the power of their products, for means of `step` voxels."""
        means = torch.eye(PATCH, dtype=torch.float64).repeat_interleave(step, 1) / step
        inside = CORRELATION[: PATCH * step, : PATCH * step]
        values, vectors = torch.linalg.eigh(means @ inside @ means.T)
        power = SPREAD**2 * values[:, None, None] * values[:, None] * values + TEXTURE**2 / step**3
        return vectors.float(), power.float()

    def encode_condition(self, _anatomy, coordinates, _target):
        return coordinates

    def forward(self, x, t, _region, coordinates):
        step = round(float(coordinates[0, 0].diff(dim=-1).mean()) * (SIDE - 1) / 2)
        basis, power = self.bases[step]
        waves = torch.einsum("bkzyx,za,yc,xd->bkacd", x, basis, basis, basis) * self.gain(power, t)
        x0 = torch.einsum("bkacd,za,yc,xd->bkzyx", waves, basis, basis, basis)
        return self.schedule.target("v", x0, self.schedule.noise(x0, x, t), t)

    def gain(self, power, t):
        """Return what of a wave in x_t is x_0."""
        alpha, sigma = self.schedule.coefficients(t)
        return alpha * power / (alpha**2 * power + sigma**2)


class FewSteps(Field):
    """The student that distillation asks for: a step of DDIM ends where the field's ODE does."""

    def __init__(self, steps):
        super().__init__()
        self.stride = self.schedule.timesteps // steps

    def gain(self, power, t):
        (alpha, sigma), (alpha_end, sigma_end) = map(self.schedule.coefficients, (t, t - self.stride))
        way = ((alpha_end**2 * power + sigma_end**2) / (alpha**2 * power + sigma**2)).sqrt()
        return (way - sigma_end / sigma) / (alpha_end - alpha * sigma_end / sigma)


def powers(volume):
    """Return the mean power of each band."""
    spectrum = torch.fft.fftn(volume.double()).abs() ** 2
    return torch.stack([spectrum[band].mean() for band in BANDS])


def true_field(seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(CORRELATION).float()
    smooth = torch.einsum("zyx,az,by,cx->abc", torch.randn((SIDE,) * 3, generator=generator), root, root, root)
    return (SPREAD * smooth + TEXTURE * torch.randn((SIDE,) * 3, generator=generator)).clamp(-1, 1)


def measured(config: SamplingConfig, seeds=4, network=None):
    """Return the spread of each band relative to that of the field, the seams, and how many windows a volume took."""
    network, condition = network or Field(), Condition(torch.ones((SIDE,) * 3, dtype=torch.uint8), 0)
    drawn, seams, windows = [], [], 0
    for seed in range(seeds):
        levels = levels_of(
            [network], DiffusionConfig(prediction="v"), condition, config, seed, MachineConfig(windows_per_batch=64)
        )
        volume = sample_levels(levels, seed)
        drawn.append(powers(volume))
        borders = levels[-1].windows.borders_zyx()
        seams.append(seam_ratio(volume.numpy(), torch.ones((SIDE,) * 3, dtype=torch.bool).numpy(), borders))
        windows = sum(level.windows.cost.estimates for level in levels)
    truth = torch.stack([powers(true_field(seed)) for seed in range(1000, 1020)]).mean(0)
    return (torch.stack(drawn).mean(0) / truth).sqrt().tolist(), math.fsum(seams) / seeds, windows
