"""Grids: which agree, and how a tilted gantry is put upright."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from meddiff.volumes.geometry import Grid, without_shear

GRID = Grid((9, 8, 7), np.array([5.0, -6.0, 7.0]), np.diag([1.0, 1.5, 2.0]))
ORIENTATIONS = [a + b + c for a in "LR" for b in "PA" for c in "SI"]
ORIENTATIONS = sorted(
    {"".join(np.array(list(o))[list(p)]) for o in ORIENTATIONS for p in np.ndindex(3, 3, 3) if len({*p}) == 3}
)


def moved(shift_mm=(0.0, 0.0, 0.0), turn=None, stretch=1.0) -> Grid:
    axes_mm = GRID.axes_mm * stretch if turn is None else turn @ GRID.axes_mm
    return Grid(GRID.size_xyz, GRID.origin_mm + shift_mm, axes_mm)


def image_of(grid: Grid) -> sitk.Image:
    return grid.put_on(sitk.Image(grid.size_xyz, sitk.sitkInt16))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_grid_equals_itself_in_every_order_of_axes(orientation):
    other = Grid.of(sitk.DICOMOrient(image_of(GRID), orientation))
    assert other.equals(GRID)
    assert GRID.equals(other)


def test_there_are_48_orders_of_axes():
    assert len(ORIENTATIONS) == 48


def test_headers_that_differ_by_rounding_describe_one_grid():
    assert moved((0.01, -0.01, 0.02)).equals(GRID)
    assert moved(turn=Rotation.from_euler("x", 0.1, degrees=True).as_matrix()).equals(GRID)


@pytest.mark.parametrize(
    "other",
    [
        moved((1.0, 0.0, 0.0)),
        moved((0.0, 0.0, 1.2)),
        moved(stretch=1.2),
        moved(turn=Rotation.from_euler("z", 30, degrees=True).as_matrix()),
        Grid((9, 8, 6), GRID.origin_mm, GRID.axes_mm),
        Grid((9, 8, 7), GRID.origin_mm, -GRID.axes_mm),
        Grid((8, 9, 7), GRID.origin_mm, GRID.axes_mm),
    ],
)
def test_another_place_spacing_direction_or_size_is_another_grid(other):
    assert not other.equals(GRID)
    assert not GRID.equals(other)


def test_a_part_lies_on_the_whole_but_not_the_other_way_round():
    part = Grid((4, 8, 2), GRID.origin_mm + GRID.axes_mm @ (5, 0, 3), GRID.axes_mm)
    assert part.lies_on(GRID)
    assert not GRID.lies_on(part)
    assert not part.equals(GRID)


@given(st.floats(-30, 30), st.floats(-10, 10), st.integers(0, 2**16))
def test_a_sheared_volume_is_put_upright_with_everything_in_its_place(tilt_deg, lateral_mm, seed):
    turn = Rotation.random(random_state=seed).as_matrix()
    step_mm = turn @ (lateral_mm / 20, 2 * np.tan(np.deg2rad(tilt_deg)), 2.0)
    grid = Grid((12, 14, 16), np.array([3.0, 4.0, 5.0]), np.column_stack([turn[:, :2] * (1.0, 1.5), step_mm]))
    gradient = np.array([3.0, -4.0, 5.0])
    ijk = np.indices(grid.size_xyz).reshape(3, -1).T
    places_mm = grid.origin_mm + ijk @ grid.axes_mm.T
    values = np.rint(10 * places_mm @ gradient).astype(np.int16).reshape(grid.size_xyz)
    upright = without_shear(grid.put_on(sitk.GetImageFromArray(values.T)), -32000)

    target = Grid.of(upright)
    cosines = target.axes_mm / target.spacing_mm
    np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=1e-4)
    ijk = np.indices(target.size_xyz).reshape(3, -1).T
    places_mm = target.origin_mm + ijk @ target.axes_mm.T
    source = grid.index_of(places_mm)
    inside = ((source >= 0) & (source <= np.array(grid.size_xyz) - 1)).all(1)
    found = sitk.GetArrayFromImage(upright).T.ravel()
    # Less than half a voxel over the whole volume is left as it is.
    slack = 2 if grid.is_sheared() else 10 * np.linalg.norm(gradient) * 0.5 * np.hypot(1.0, 1.5) + 2
    assert np.abs(found - 10 * places_mm @ gradient)[inside].max() <= slack
    assert inside.sum() >= (grid.size_xyz[0] - 2) * (grid.size_xyz[1] - 2) * grid.size_xyz[2]
    assert target.size_xyz[2] == grid.size_xyz[2]


def test_a_volume_without_shear_keeps_its_voxels_and_its_header():
    image = image_of(moved(turn=Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()))
    assert without_shear(image, 0) is image
