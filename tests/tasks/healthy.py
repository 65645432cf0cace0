"""A model that knows what each label looks like, in the place of one that learned it."""

import numpy as np
import torch

from meddiff.config import MODEL_REGIONS, DiffusionConfig, MachineConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, SlidingWindows

SMALL = NetworkConfig(patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)


class HealthyNetwork(torch.nn.Module):
    """Estimates the noise of a volume whose voxels have the value of their label."""

    config = SMALL

    def __init__(self, values):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.values = torch.as_tensor(values, dtype=torch.float32)
        self.schedule = Schedule(1000)

    def encode_condition(self, anatomy, _coordinates, _target):
        return self.values[anatomy[:, None].long()]

    def forward(self, x, t, _region, truth):
        alpha, sigma = self.schedule.coefficients(t)
        return (x - alpha * truth) / sigma


class HealthySampler:
    """A `Sampler` of that model; `values` are those of labels 0 to 118, in [-1, 1]."""

    def __init__(self, values, machine=None):
        self.network = HealthyNetwork(values)
        self.config, self.machine = SamplingConfig(bfloat16=False), machine or MachineConfig()

    def windows(self, anatomy_zyx, region, seed=0):
        condition = Condition(torch.from_numpy(np.asarray(anatomy_zyx)), MODEL_REGIONS.index(region))
        return SlidingWindows([self.network], DiffusionConfig(), condition, self.config, seed, self.machine)
