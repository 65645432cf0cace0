"""Position of a patch in its region (section 3.3, Eq. 3 to 5)."""

import math

import torch
from torch import Tensor

from meddiff.config import NetworkConfig


def patch_coordinates(
    start_zyx: tuple[float, ...],
    step_zyx: tuple[float, ...],
    patch_zyx: tuple[int, ...],
    region_zyx: tuple[int, ...],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return p_c of Eq. 3 for the voxels of a patch, shape (3, Z, Y, X) in the order x, y, z, float32.

    A coordinate is -1 at the centre of the region's first voxel and 1 at that of its last one; it is linear in space,
    so a place has the same coordinates at every level, and the padding around a small region goes beyond [-1, 1].

    Args:
        start_zyx: the edge where the patch begins, in voxels of the region (0: its first voxel's outer edge).
        step_zyx: the size of a patch voxel in voxels of the region: 1 for a crop, 2 for the double crop.
        patch_zyx: voxels of the patch.
        region_zyx: voxels of the region.
        device: where the result lives.
    """
    axes = []
    for start, step, count, size in zip(start_zyx, step_zyx, patch_zyx, region_zyx, strict=True):
        centre_vox = start + step * (torch.arange(count, device=device, dtype=torch.float32) + 0.5) - 0.5
        axes.append(2 * centre_vox / max(size - 1, 1) - 1)
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((x, y, z))


def position_embedding(coordinates_B3ZYX: Tensor, frequencies: int) -> Tensor:
    """Return p_e of Eq. 5, shape (B, 6 L, Z, Y, X): sine and cosine of 2^0 pi p_c to 2^(L-1) pi p_c.

    Choice: as the paper writes it, without p_c itself. Its period is then 2: p_e is the same at the two ends of a
    region, -1 and 1, and what lies beyond an end has the p_e of the other end's inside; the anatomy tells them apart.
    """
    bands = []
    for power in range(frequencies):
        angle = (2**power * math.pi) * coordinates_B3ZYX
        bands += [torch.sin(angle), torch.cos(angle)]
    return torch.cat(bands, dim=1)


def position_channels(config: NetworkConfig) -> int:
    """Return how many input channels the position takes."""
    return {"none": 0, "coordinates": 3, "embedding": 6 * config.position_frequencies}[config.position]
