"""A network's estimate of x_0 for a whole volume, window by window (section 3.3, Fig. 4).

The estimates of all windows are averaged with a smooth weight. x_0 is linear in the estimated noise at a given x_t
and t, so averaging x_0 is averaging the noise, as the paper does.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import DiffusionConfig, MachineConfig, SamplingConfig
from meddiff.diffusion.layout import Layout
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.solvers import SLAB_VOXELS
from meddiff.diffusion.windows import (
    Corner,
    corners_of,
    total_profile,
    window_borders,
    window_slices,
    window_weight,
)
from meddiff.errors import UserError
from meddiff.machine.progress import OnStep, silent
from meddiff.model.controlnet import ControlledUNet
from meddiff.model.graphed import Graphed
from meddiff.model.unet import UNet
from meddiff.store.position import patch_coordinates

log = logging.getLogger(__name__)

# Float32 arrays that live at once: of the volume's size x_t, x_0 and the three of UniPC, the most of all solvers (two
# estimates, x of the last step); of a slab's size what a step needs in between.
ARRAYS_OF_A_VOLUME, ARRAYS_OF_A_SLAB = 5, 20
Network = UNet | ControlledUNet | Graphed


@dataclass(frozen=True)
class Place:
    """Where a volume lies in its region, in voxels of the region, `zyx`.

    Args:
        offset_zyx: where its first voxel begins, which may be outside.
        region_zyx: the region's size.
        step_zyx: the size of a voxel of the volume: 1, but at the levels that show more in fewer voxels.
    """

    offset_zyx: tuple[int, ...]
    region_zyx: tuple[int, ...]
    step_zyx: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Condition:
    """What a volume shall show.

    Args:
        anatomy_ZYX: label ids, uint8.
        region: index of the region in `MODEL_REGIONS`.
        place: where the volume lies; None is a volume that is a whole region.
        target_ZYX: the target condition of a fine-tuned network, float.
        target_outside: its value outside of the volume.
        air: value of air, in [-1, 1]: what the volume is without anatomy and outside.
    """

    anatomy_ZYX: Tensor
    region: int
    place: Place | None = None
    target_ZYX: Tensor | None = None
    target_outside: float = 0.0
    air: float = -1.0


@dataclass
class Cost:
    """How many windows of some size the network has estimated, and of how many it has encoded the conditions."""

    window_zyx: tuple[int, ...]
    estimates: int = 0
    encodings: int = 0


class SlidingWindows:
    """The estimate of x_0 for one volume.

    The volume lives on the first network's device where `array_bytes` fit into the memory that is meant for it, else on
    the host; windows travel between there and the networks. `device` is where.

    Args:
        networks: the network, once for every device that shares the windows; their number does not change the result.
        diffusion: the model's process and what its network estimates.
        condition: anatomy and region of the volume.
        config: where the windows lie, which are left out.
        seed: decides where windows that move lie at each step.
        machine: windows per batch and memory; none: the defaults.

    Raises:
        UserError: the volume needs more memory than the configuration allows.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        diffusion: DiffusionConfig,
        condition: Condition,
        config: SamplingConfig,
        seed: int = 0,
        machine: MachineConfig | None = None,
    ) -> None:
        machine = machine or MachineConfig()
        self.diffusion, self.config, self.machine = diffusion, config, machine
        self._networks = networks
        network = networks[0].config
        self._region, self._air = condition.region, condition.air
        self.inner_size = tuple(condition.anatomy_ZYX.shape)
        self.place = condition.place or Place((0, 0, 0), self.inner_size)
        missing = [max(0, network.patch_vox - n) for n in self.inner_size]
        self._before = [m // 2 for m in missing]
        self.size_zyx = tuple(n + m for n, m in zip(self.inner_size, missing, strict=True))
        self.device, cache_bytes = self._home()
        self._anatomy = self.padded(condition.anatomy_ZYX, 0)
        self.layout = Layout(self._anatomy, network.patch_vox, network.divisor, config, seed)
        self.window_zyx = self.layout.window_zyx
        target = condition.target_ZYX
        self._target = None if target is None else self.padded(target, condition.target_outside)
        self._schedule = Schedule(diffusion.timesteps, self.device)
        self._weight = window_weight(self.window_zyx).to(self.device)
        self._cached: dict[tuple[torch.device, tuple[Corner, ...]], Tensor] = {}
        keeps_conditions = machine.cache_conditions and config.windows != "shifted"
        self._cache_bytes = cache_bytes if keeps_conditions else 0
        self._per_batch, self.cost = machine.windows_per_batch, Cost(self.window_zyx)

    def _home(self) -> tuple[torch.device, float]:
        """Return where the volume lives, and how many bytes are left for encoded conditions beside the networks."""
        needed, device = array_bytes(math.prod(self.size_zyx)), _device_of(self._networks[0])
        on_host, on_gpu = (gb * 1e9 for gb in (self.machine.memory_gb, self.machine.gpu_memory_gb))
        if device.type != "cpu" and needed <= on_gpu:
            return device, on_gpu - needed
        if needed > on_host:
            raise UserError(
                f"a volume of {math.prod(self.size_zyx):,} voxels needs {needed / 1e9:.1f} GB and machine.memory_gb "
                f"is {self.machine.memory_gb:g}; raise it, or cut the volume"
            )
        return torch.device("cpu"), on_host - needed if device.type == "cpu" else on_gpu

    def noise(self, generator: torch.Generator) -> Tensor:
        """Return white noise of the volume's size; `generator` is one of the CPU, so a seed is the same anywhere."""
        return torch.randn(self.size_zyx, generator=generator).to(self.device)

    def padded(self, volume_ZYX: Tensor, outside: float | None = None) -> Tensor:
        """Return a volume of the size that was asked for with air around it, where a window needs it, on `device`."""
        padding = [(b, n - b - m) for n, b, m in zip(self.size_zyx, self._before, volume_ZYX.shape, strict=True)]
        value = self._air if outside is None else outside
        return F.pad(volume_ZYX.to(self.device), [side for axis in reversed(padding) for side in axis], value=value)

    def inner(self, volume_ZYX: Tensor) -> Tensor:
        """Return the part of a padded volume that was asked for."""
        return volume_ZYX[tuple(slice(b, b + n) for b, n in zip(self._before, self.inner_size, strict=True))]

    @torch.inference_mode()
    def estimate_x0(self, x_ZYX: Tensor, t: int, step: int | None = None, on_window: OnStep = silent) -> Tensor:
        """Return the averaged estimate of x_0, float32 on `device`.

        Choice: clipped to [-1, 1] unless configured otherwise, because at the cosine schedule's last timestep x_0 is
        the error of the estimated noise times 20,291.

        Args:
            x_ZYX: the volume at timestep t.
            t: the timestep.
            step: decides where windows that move lie; None is the last or only step.
            on_window: called after every window.
        """
        starts = self.layout.starts_zyx(step)
        mean = torch.zeros(self.size_zyx, device=self.device)
        corners = corners_of(starts)
        shows_body = dict(zip(corners, self.layout.show_body(corners), strict=True))
        for corner in corners:
            if not shows_body[corner]:
                mean[window_slices(corner, self.window_zyx)] += self._air * self._weight
        computed = [corner for corner in corners if shows_body[corner]]
        self.cost.estimates += len(computed)
        for done, (corner, window) in enumerate(self._windows(computed, x_ZYX, t), start=1):
            mean[window_slices(corner, self.window_zyx)] += self._weight * window
            on_window(done, len(computed))
        for axis in range(3):
            total = total_profile(self.size_zyx[axis], self.window_zyx[axis], starts[axis]).to(self.device)
            mean /= total.where(total > 0, 1).view([-1 if other == axis else 1 for other in range(3)])
        mean = self.layout.surrounded(mean, self._air)
        return mean.clamp_(-1, 1) if self.config.clip_x0 else mean

    def forget_conditions(self) -> None:
        """Give back the memory of the encoded conditions."""
        self._cache_bytes += sum(encoded.nbytes for encoded in self._cached.values())
        self._cached.clear()

    def borders_zyx(self, step: int | None = None) -> list[list[int]]:
        """Return, of the volume that was asked for, the planes along each axis with which a window begins or ends."""
        found = []
        starts_zyx = self.layout.starts_zyx(step)
        for size, inner, before, window, starts in zip(
            self.size_zyx, self.inner_size, self._before, self.window_zyx, starts_zyx, strict=True
        ):
            planes = window_borders(size, window, starts)
            found.append([plane - before for plane in planes if 0 < plane - before < inner])
        return found

    def _windows(self, corners: list[Corner], x_ZYX: Tensor, t: int) -> Iterator[tuple[Corner, Tensor]]:
        """Give each window's x_0, in the order of the corners whichever device makes it."""
        count = self._per_batch
        batches = [tuple(corners[i : i + count]) for i in range(0, len(corners), count)]
        if len(self._networks) == 1:
            results = (self._x0(self._networks[0], batch, x_ZYX, t) for batch in batches)
            yield from _pairs(batches, results)
            return
        pools = [ThreadPoolExecutor(1) for _ in self._networks]
        workers = list(zip(pools, self._networks, strict=True))
        futures = []
        for number, batch in enumerate(batches):
            pool, network = workers[number % len(workers)]
            futures.append(pool.submit(self._x0, network, batch, x_ZYX, t))
        yield from _pairs(batches, (future.result() for future in futures))
        for pool in pools:
            pool.shutdown()

    def _x0(self, network: Network, corners: tuple[Corner, ...], x_ZYX: Tensor, t: int) -> Tensor:
        """Return the x_0 of some windows; those that do not fit into a GPU's memory at once take turns.

        Raises:
            UserError: not even one fits.
        """
        try:
            return self._x0_at_once(network, corners, x_ZYX, t)
        except torch.OutOfMemoryError:
            if len(corners) == 1:
                size = " x ".join(map(str, self.window_zyx))
                raise UserError(
                    f"the GPU has no memory for one window of {size} voxels; lower machine.gpu_memory_gb "
                    f"(now {self.machine.gpu_memory_gb:g}), so that the volume lives on the host, or set device: cpu"
                ) from None
        torch.cuda.empty_cache()
        half = len(corners) // 2
        self._per_batch = min(self._per_batch, half)
        log.warning("no memory for %d windows at once on the GPU; %d from now on", len(corners), self._per_batch)
        return torch.cat([self._x0(network, part, x_ZYX, t) for part in (corners[:half], corners[half:])])

    @torch.inference_mode()
    def _x0_at_once(self, network: Network, corners: tuple[Corner, ...], x_ZYX: Tensor, t: int) -> Tensor:
        x = torch.stack([x_ZYX[window_slices(c, self.window_zyx)] for c in corners])[:, None]
        t_B = torch.full((len(corners),), t, device=self.device)
        device = _device_of(network)
        region_B = torch.full_like(t_B, self._region, device=device)
        estimate = network(x.to(device), t_B.to(device), region_B, self._condition(network, corners, device))
        return self._schedule.to_x0(self.diffusion.prediction, estimate.float().to(self.device), x, t_B)[:, 0]

    def _condition(self, network: Network, corners: tuple[Corner, ...], device: torch.device) -> Tensor:
        """Return the encoded conditions; those of windows that stay are kept as far as the memory goes."""
        if (device, corners) in self._cached:
            return self._cached[device, corners]
        anatomy = torch.stack([self._anatomy[window_slices(c, self.window_zyx)] for c in corners])
        place = self.place
        where = list(zip(self._before, place.offset_zyx, place.step_zyx, strict=True))
        starts = [tuple(o + s * (v - b) for v, (b, o, s) in zip(c, where, strict=True)) for c in corners]
        coordinates = [patch_coordinates(s, place.step_zyx, self.window_zyx, place.region_zyx, device) for s in starts]
        target = None
        if self._target is not None:
            target = torch.stack([self._target[window_slices(c, self.window_zyx)] for c in corners])[:, None].to(device)
        encoded = network.encode_condition(anatomy.to(device), torch.stack(coordinates), target)
        self.cost.encodings += len(corners)
        if encoded.nbytes <= self._cache_bytes:
            self._cached[device, corners] = encoded
            self._cache_bytes -= encoded.nbytes
        return encoded


def numbered(timesteps: Sequence[int]) -> Iterator[tuple[int | None, int]]:
    """Give each timestep with its number, by which windows move; the last has none (`Layout.starts_zyx`)."""
    for step, t in enumerate(timesteps, start=1):
        yield (step - 1 if step < len(timesteps) else None), t


def array_bytes(voxels: int) -> int:
    """Return the memory that sampling a volume takes at most: labels, and the float32 arrays of a step."""
    slab = min(voxels, SLAB_VOXELS)
    return voxels + 4 * (voxels * ARRAYS_OF_A_VOLUME + slab * ARRAYS_OF_A_SLAB)


def _device_of(network: Network) -> torch.device:
    return next(network.parameters()).device


def _pairs(batches: list[tuple[Corner, ...]], results: Iterator[Tensor]) -> Iterator[tuple[Corner, Tensor]]:
    for corners, windows in zip(batches, results, strict=True):
        yield from zip(corners, windows, strict=True)
