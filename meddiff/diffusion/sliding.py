"""Whole-volume sampling with smoothed noise estimates (section 3.3, Fig. 4).

At every step each window gives its estimate of x_0 from the current volume; the estimates are averaged with a smooth
weight and the solver takes one step with the whole volume. x_0 is linear in the estimated noise at a given x_t and t,
so averaging x_0 is averaging the noise, as the paper does.
"""

import inspect
import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import SamplingConfig
from meddiff.data.patches import OUTSIDE_SCALED
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.solvers import make_solver
from meddiff.diffusion.windows import at, window_corners, window_weight
from meddiff.model.position import patch_coordinates
from meddiff.model.unet import UNet
from meddiff.progress import Progress

log = logging.getLogger(__name__)

CONDITION_CACHE_BYTES = 2 * 2**30
STATUS_SECONDS = 15.0


@dataclass(frozen=True)
class Condition:
    """What a volume shall show: label ids (Z, Y, X) and the index of its region in `MODEL_REGIONS`."""

    anatomy_ZYX: Tensor
    region: int


class SlidingWindows:
    """A network's estimate of x_0 for a whole volume, window by window.

    Args:
        model: the network, on its device.
        schedule: the noise schedule, on the same device.
        prediction: what the network estimates.
        condition: anatomy and region of the volume; windows without any anatomy are air and are not computed.
        config: overlap, windows per batch.
    """

    def __init__(
        self, model: UNet, schedule: Schedule, prediction: str, condition: Condition, config: SamplingConfig
    ) -> None:
        self._model, self._schedule, self._prediction = model, schedule, prediction
        self._device = next(model.parameters()).device
        self._window = model.config.patch_vox
        self._region = condition.region
        self._inner_size = tuple(condition.anatomy_ZYX.shape)
        missing = [max(0, self._window - n) for n in self._inner_size]
        self._before = [m // 2 for m in missing]
        padding = [p for m, b in zip(missing[::-1], self._before[::-1], strict=True) for p in (b, m - b)]
        self._anatomy = F.pad(condition.anatomy_ZYX, padding, value=0)
        self.size_zyx = tuple(self._anatomy.shape)
        corners = window_corners(self.size_zyx, self._window, config.overlap)
        self._weight = window_weight(self._window)
        self._total = torch.zeros(self.size_zyx)
        for corner in corners:
            self._total[at(corner, self._window)] += self._weight
        self._corners = [c for c in corners if bool(self._anatomy[at(c, self._window)].any())]
        batch = config.windows_per_batch
        self._batches = [self._corners[i : i + batch] for i in range(0, len(self._corners), batch)]
        bytes_needed = len(self._corners) * model.config.channels * self._window**3 * 4
        self._cached = [self._encode(b) for b in self._batches] if bytes_needed <= CONDITION_CACHE_BYTES else None

    def inner(self, volume_ZYX: Tensor) -> Tensor:
        """Return the part of a padded volume that was asked for."""
        return volume_ZYX[tuple(slice(b, b + n) for b, n in zip(self._before, self._inner_size, strict=True))]

    @torch.inference_mode()
    def estimate_x0(self, x_ZYX: Tensor, t: int) -> Tensor:
        """Return the averaged estimate of x_0, clipped to [-1, 1], float32 on the CPU.

        Choice: clipped, because at the cosine schedule's last timestep x_0 is the estimated noise's error times 20,291.
        """
        sums = torch.zeros(self.size_zyx)
        seen = torch.zeros(self.size_zyx)
        for number, corners in enumerate(self._batches):
            x = torch.stack([x_ZYX[at(c, self._window)] for c in corners])[:, None].to(self._device)
            t_B = torch.full((len(corners),), t, device=self._device)
            region_B = torch.full_like(t_B, self._region)
            condition = self._cached[number] if self._cached else self._encode(corners)
            estimate = self._model(x, t_B, region_B, condition)
            x0 = self._schedule.to_x0(self._prediction, estimate.float(), x, t_B)[:, 0].cpu()
            for corner, window in zip(corners, x0, strict=True):
                sums[at(corner, self._window)] += self._weight * window
                seen[at(corner, self._window)] += self._weight
        sums += OUTSIDE_SCALED * (self._total - seen)
        return (sums / self._total).clamp(-1, 1)

    @torch.inference_mode()
    def _encode(self, corners: list) -> Tensor:
        shape = (self._window,) * 3
        anatomy = torch.stack([self._anatomy[at(c, self._window)] for c in corners]).to(self._device)
        starts = [tuple(float(v - b) for v, b in zip(c, self._before, strict=True)) for c in corners]
        coordinates = torch.stack(
            [patch_coordinates(s, (1.0,) * 3, shape, self._inner_size, self._device) for s in starts]
        )
        return self._model.encode_condition(anatomy, coordinates)


def sample_volume(windows: SlidingWindows, config: SamplingConfig, timesteps: int, seed: int, name: str) -> Tensor:
    """Return a volume drawn from the model, (Z, Y, X), in [-1, 1].

    Args:
        windows: the model's estimate for this volume.
        config: solver and steps.
        timesteps: T of the model.
        seed: of the first noise and of a stochastic solver; the result does not depend on the batching of windows.
        name: for the progress lines.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(windows.size_zyx, generator=generator)
    solver = make_solver(config.solver, config.steps, timesteps)
    takes_generator = "generator" in inspect.signature(solver.step).parameters
    extra = {"generator": generator} if takes_generator else {}
    progress = Progress(name, len(solver.timesteps), STATUS_SECONDS)
    for t in solver.timesteps:
        x0 = windows.estimate_x0(x, int(t))
        x = solver.step(x0, t, x, **extra).prev_sample
        progress.step("steps")
    return windows.inner(x.clamp(-1, 1))
