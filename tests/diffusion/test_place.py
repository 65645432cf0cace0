"""Volumes that are a part of a region, and target conditions: what of them the network is told."""

import pytest
import torch

from meddiff.config import DiffusionConfig, MachineConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.sliding import Condition, Place, SlidingWindows

SMALL = NetworkConfig(patch_vox=8, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)
PLAIN, THREE_AT_ONCE = SamplingConfig(bfloat16=False, skip_air=False), MachineConfig(windows_per_batch=3)


class Recording(torch.nn.Module):
    """Estimates nothing and keeps what it is told of every window."""

    config = SMALL

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.told = []

    def encode_condition(self, anatomy, coordinates, target):
        self.told += zip(anatomy, coordinates, [None] * len(anatomy) if target is None else target, strict=True)
        return torch.zeros(len(anatomy), 1, *anatomy.shape[1:])

    def forward(self, x, _t, _region, _condition):
        return torch.zeros_like(x)


def told(anatomy, config=PLAIN, **condition):
    """Return the windows' corners, and of each window its anatomy, coordinates and target."""
    network = Recording()
    windows = SlidingWindows([network], DiffusionConfig(), Condition(anatomy, 0, **condition), config, 0, THREE_AT_ONCE)
    windows.estimate_x0(torch.zeros(windows.size_zyx), 500)
    starts = windows.layout.starts_zyx(0)
    corners = [(z, y, x) for z in starts[0] for y in starts[1] for x in starts[2]]
    return dict(zip(corners, network.told, strict=True))


def labels(size):
    return torch.randint(1, 119, size, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def coordinates_of(start_zyx, size_zyx, region_zyx):
    """Eq. 3 written anew, float64: -1 at a region's first voxel and 1 at its last one, in the order x, y, z."""
    axes = [
        torch.arange(start, start + size, dtype=torch.float64) * 2 / (region - 1) - 1
        for start, size, region in zip(start_zyx, size_zyx, region_zyx, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])


def assert_coordinates(found, start_zyx, region_zyx):
    expected = coordinates_of(start_zyx, found.shape[1:], region_zyx)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)


def test_a_cut_window_sees_the_coordinates_it_has_in_the_whole_region():
    region = labels((20, 16, 26))
    whole = told(region)
    assert len(whole) > 20
    for corner, (anatomy, coordinates, _) in whole.items():
        part = region[tuple(slice(start, start + 8) for start in corner)]
        ((found_anatomy, found, _),) = told(part, place=Place(corner, region.shape)).values()
        assert torch.equal(found_anatomy, anatomy)
        assert torch.equal(found, coordinates)


def test_a_window_that_fits_sees_the_anatomy_and_the_coordinates_of_where_it_lies():
    region, fitted = labels((20, 16, 9)), PLAIN.model_copy(update={"windows": "fitted", "overlap": 0.0})
    whole = told(region, fitted)
    assert [len({corner[axis] for corner in whole}) for axis in range(3)] == [2, 2, 2]
    for corner, (anatomy, coordinates, _) in whole.items():
        assert tuple(anatomy.shape) == (10, 8, 8)
        assert torch.equal(anatomy, region[tuple(slice(c, c + n) for c, n in zip(corner, anatomy.shape, strict=True))])
        assert_coordinates(coordinates, corner, region.shape)


def test_a_part_of_several_windows_sees_the_coordinates_of_the_region():
    found = told(labels((9, 8, 20)), place=Place((5, 3, 11), (40, 16, 50)))
    assert len(found) > 4
    for (z, y, x), (_, coordinates, _) in found.items():
        assert_coordinates(coordinates, (5 + z, 3 + y, 11 + x), (40, 16, 50))


@pytest.mark.parametrize("offset", [(-3, -8, -1), (-3, 2, 36)])
def test_a_window_that_begins_before_the_region_goes_on_as_the_region_does(offset):
    ((_, coordinates, _),) = told(labels((8, 8, 8)), place=Place(offset, (20, 16, 40))).values()
    assert_coordinates(coordinates, offset, (20, 16, 40))
    assert coordinates.abs().max() > 1


def test_a_part_smaller_than_a_window_keeps_its_coordinates_within_the_padding():
    ((_, coordinates, _),) = told(labels((3, 8, 5)), place=Place((4, 1, -2), (20, 16, 40))).values()
    assert_coordinates(coordinates[:, 2:5, :, 1:6], (4, 1, -2), (20, 16, 40))


def test_a_volume_without_a_place_is_a_whole_region():
    ((_, coordinates, _),) = told(labels((3, 8, 5))).values()
    assert_coordinates(coordinates[:, 2:5, :, 1:6], (0, 0, 0), (3, 8, 5))


def test_the_target_reaches_the_network_as_the_anatomy_is_cut():
    anatomy = labels((13, 9, 20))
    found = told(anatomy, target_ZYX=anatomy.float() / 7)
    assert len(found) > 10
    for window_anatomy, _, target in found.values():
        assert torch.equal(target, window_anatomy[None].float() / 7)


@pytest.mark.parametrize("outside", [0.0, -1.0])
def test_around_a_small_volume_the_target_has_the_value_of_outside(outside):
    anatomy = labels((3, 8, 5))
    ((window_anatomy, _, target),) = told(
        anatomy, target_ZYX=torch.full((3, 8, 5), 0.5), target_outside=outside
    ).values()
    assert (target[0][window_anatomy > 0] == 0.5).all()
    assert (target[0][window_anatomy == 0] == outside).all()
    assert int((window_anatomy > 0).sum()) == anatomy.numel()


def test_a_network_without_a_target_is_given_none():
    assert all(target is None for _, _, target in told(labels((8, 8, 12))).values())
