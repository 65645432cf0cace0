"""Paired similarity of a synthetic scan to the real one with the same anatomy: MS-SSIM and LPIPS."""

import torch
from torch import Tensor

from meddiff.evaluation.extractor import Extractor

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, fine to coarse
MS_SSIM_KERNEL = 7
SCALED_RANGE = 2.0  # values lie in [-1, 1]


def ms_ssim(a_ZYX: Tensor, b_ZYX: Tensor, scales: int) -> float:
    """Return the multi-scale SSIM of two volumes in [-1, 1]; nan where the volume is too small for the scales.

    Choice: MONAI's, with a kernel of 7, since 11 needs sides over 160; with fewer scales the weights of the finest
    ones are scaled up to 1.
    """
    from monai.metrics.regression import MultiScaleSSIMMetric

    if min(a_ZYX.shape) // max(1, (scales - 1) ** 2) <= MS_SSIM_KERNEL - 1:
        return float("nan")
    weights = torch.tensor(MS_SSIM_WEIGHTS[:scales])
    metric = MultiScaleSSIMMetric(
        spatial_dims=3, data_range=SCALED_RANGE, kernel_size=MS_SSIM_KERNEL, weights=(weights / weights.sum()).tolist()
    )
    return float(torch.as_tensor(metric(a_ZYX[None, None].float(), b_ZYX[None, None].float())))


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
