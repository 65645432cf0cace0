"""Position: Eq. 3 to 5, and the same coordinate at every level."""

import math

import numpy as np
import pytest
import torch

from meddiff.config import NetworkConfig
from meddiff.store.position import patch_coordinates, position_channels, position_embedding

REGION = (20, 30, 40)


def test_the_first_voxel_is_minus_one_and_the_last_one():
    p = patch_coordinates((0, 0, 0), (1, 1, 1), REGION, REGION)
    assert p.shape == (3, *REGION)
    torch.testing.assert_close(p[:, 0, 0, 0], torch.tensor([-1.0, -1, -1]))
    torch.testing.assert_close(p[:, -1, -1, -1], torch.tensor([1.0, 1, 1]))
    assert (p[0].diff(dim=2) > 0).all()  # x along the last axis
    assert (p[2].diff(dim=0) > 0).all()  # z along the first one


def test_a_crop_sees_the_coordinates_of_the_whole():
    whole = patch_coordinates((0, 0, 0), (1, 1, 1), REGION, REGION)
    crop = patch_coordinates((3, 5, 7), (1, 1, 1), (8, 8, 8), REGION)
    torch.testing.assert_close(crop, whole[:, 3:11, 5:13, 7:15])


def test_the_double_crop_sees_the_mean_of_the_voxels_it_joins():
    whole = patch_coordinates((0, 0, 0), (1, 1, 1), REGION, REGION)
    double = patch_coordinates((2, 4, 6), (2, 2, 2), (8, 8, 8), REGION)
    mean = torch.nn.functional.avg_pool3d(whole[:, 2:18, 4:20, 6:22], 2)
    torch.testing.assert_close(double, mean)


def test_the_resized_image_sees_the_interpolated_coordinates():
    whole = patch_coordinates((0, 0, 0), (1, 1, 1), REGION, REGION)
    step = tuple(n / 16 for n in REGION)
    image = patch_coordinates((0, 0, 0), step, (16, 16, 16), REGION)
    resized = torch.nn.functional.interpolate(whole[None], size=(16,) * 3, mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(image, resized, atol=1e-6, rtol=0)


def test_a_region_of_one_voxel_has_finite_coordinates():
    assert patch_coordinates((0, 0, 0), (1, 1, 1), (4, 4, 4), (1, 1, 1)).isfinite().all()


def test_equation_5():
    p = torch.tensor([0.3, -0.7, 0.1]).view(1, 3, 1, 1, 1)
    expected = []
    for power in range(4):
        expected += [math.sin(2**power * math.pi * c) for c in (0.3, -0.7, 0.1)]
        expected += [math.cos(2**power * math.pi * c) for c in (0.3, -0.7, 0.1)]
    np.testing.assert_allclose(position_embedding(p, 4).flatten().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("mode", "count"), [("none", 0), ("coordinates", 3), ("embedding", 36)])
def test_channels(mode, count):
    assert position_channels(NetworkConfig(position=mode)) == count


def test_equation_5_has_the_period_2():
    p = torch.linspace(-1, 1, 30).view(1, 3, 1, 2, 5)
    torch.testing.assert_close(position_embedding(p + 2, 6), position_embedding(p, 6), atol=1e-4, rtol=0)
