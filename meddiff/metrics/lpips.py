"""LPIPS: the perceptual distance of a synthetic scan to the real one with the same anatomy."""

import torch
from torch import Tensor

from meddiff.metrics.extractor import Extractor


@torch.inference_mode()
def lpips(a_BCZYX: Tensor, b_BCZYX: Tensor, extractor: Extractor) -> Tensor:
    """Return the perceptual distance of volumes, (B,): squared difference of unit-length features, mean over space.

    Args:
        a_BCZYX: volumes as `features.resized` returns them, on the device of the extractor.
        b_BCZYX: those that they are compared with.
        extractor: the feature network.
    """

    def unit_features(x: Tensor) -> Tensor:
        h = extractor(x)
        return h / (h.square().sum(1, keepdim=True) + 1e-10).sqrt()

    difference = unit_features(a_BCZYX) - unit_features(b_BCZYX)
    return difference.square().sum(1).mean((1, 2, 3))
