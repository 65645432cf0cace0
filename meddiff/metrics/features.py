"""Volumes as the feature network sees them, the same for FID, MMD and LPIPS: HU in [-1, 1], resized to a cube.

Choice: HU are clipped to the region's window, which becomes [-1, 1], and that is what the network gets, as in the code
of HA-GAN and WDM, on whose scale the paper's FID and MMD lie. MedicalNet was trained on volumes of mean 0 and standard
deviation 1, and MONAI's LPIPS brings each volume there by itself; but then a scan whose HU are all off by the same
amount or factor looks perfect, and HU are what a CT is about.
Choice: the cube is as large as `evaluation.feature_vox`; shrunk by averaging, grown trilinearly, shape not kept.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddiff.config import EvaluationConfig
from meddiff.metrics.extractor import Extractor


@torch.inference_mode()
def tile_features(scaled_ZYX: Tensor, extractor: Extractor, config: EvaluationConfig) -> np.ndarray:
    """Return the features of the volume's parts, (tiles^3, C)."""
    parts = [resized(tile, extractor, config) for tile in _tiles(scaled_ZYX, config.tiles)]
    return np.concatenate([extractor.features(part).cpu().numpy() for part in parts])


def resized(scaled_ZYX: Tensor, extractor: Extractor, config: EvaluationConfig) -> Tensor:
    """Return a volume as the extractor's input, (1, 1, N, N, N), on its device."""
    size = config.feature_vox
    z, y, x = (min(size, n) for n in scaled_ZYX.shape)
    pooled = F.adaptive_avg_pool3d(scaled_ZYX[None, None], (z, y, x))
    cube = F.interpolate(pooled, size=(size,) * 3, mode="trilinear", align_corners=False)
    return cube.to(next(extractor.parameters()).device)


def _tiles(scaled_ZYX: Tensor, count: int) -> Iterator[Tensor]:
    for slab in scaled_ZYX.tensor_split(count, 0):
        for bar in slab.tensor_split(count, 1):
            yield from bar.tensor_split(count, 2)
