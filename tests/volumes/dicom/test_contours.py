"""Contours as programs write them: by planes, closer than the slices or beside them, twice, overlapping, with holes."""

import numpy as np
import pytest

from meddiff.errors import CaseError
from meddiff.machine.notes import noted
from meddiff.volumes.dicom.labels import read_dicom_labels
from meddiff.volumes.geometry import Grid
from meddiff.volumes.lesion_labels import read_lesion
from meddiff.volumes.volumes import read_ct, to_zyx
from tests.volumes.dicom.files import write_contours, write_segments, write_series

GRID = Grid((24, 20, 12), np.zeros(3), np.diag([2.0, 2.0, 5.0]))
ON_SLICES = [5.0 * number for number in range(4, 9)]


def square(z, low=(10, 10), high=(24, 20)):
    """Return a rectangle of 7 x 5 voxels, its edges between them."""
    (x0, y0), (x1, y1) = np.array(low) - 1, np.array(high) - 1
    return np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])


def rasterised(tmp_path, contours, **how):
    write_contours(tmp_path / "rs", {"GTV": contours}, **how)
    return to_zyx(read_dicom_labels(tmp_path / "rs", GRID))


@pytest.mark.parametrize(
    "contours",
    [
        [square(z) for z in ON_SLICES],
        [square(z) for z in np.arange(20, 42.5, 2.5)],
        [square(z) for z in np.arange(20, 41, 1.0)],
        [square(z) for z in np.arange(18, 42.5, 1.25)],
        [square(z + 2) for z in ON_SLICES],
        [square(z - 2.4) for z in ON_SLICES],
        [square(z) for z in ON_SLICES for _ in (0, 1)],
        [np.roll(square(z), turn, axis=0) for z in ON_SLICES for turn in (0, 2)],
        [square(z + shift) for z in ON_SLICES for shift in (0, 0.04)],
        [square(z, (10, 10), high) for z in ON_SLICES for high in ((20, 20), (24, 20))][1::2],
        [square(z, low, high) for z in ON_SLICES for low, high in (((10, 10), (20, 20)), ((14, 10), (24, 20)))],
        [square(z, low, high) for z in ON_SLICES for low, high in (((10, 10), (16, 20)), ((16, 10), (24, 20)))],
    ],
    ids=[
        *("on the slices", "every 2.5 mm", "every 1 mm", "every 1.25 mm", "2 mm above", "2.4 mm below", "twice"),
        *("twice from another corner", "twice, nearly on a plane", "wide", "overlapping", "side by side"),
    ],
)
def test_a_box_is_a_box_however_it_was_drawn(tmp_path, contours):
    expected = np.zeros((12, 20, 24), np.uint8)
    expected[4:9, 5:10, 5:12] = 1
    np.testing.assert_array_equal(rasterised(tmp_path, contours), expected)


def hole(z):
    return square(z, (14, 12), (20, 18))


def keyhole(z):
    """Return the outer outline, a way to the hole, the hole the other way round, and the same way back."""
    outer, inner = square(z), hole(z)
    return np.concatenate([outer, outer[:1], inner[:1], inner[::-1], outer[:1]])


@pytest.mark.parametrize(
    ("contours", "kind"),
    [
        ([c for z in ON_SLICES for c in (square(z), hole(z))], "CLOSED_PLANAR"),
        ([c for z in ON_SLICES for c in (hole(z), square(z))], "CLOSED_PLANAR"),
        ([c for z in ON_SLICES for c in (square(z), hole(z))], "CLOSEDPLANAR_XOR"),
        ([keyhole(z) for z in ON_SLICES], "CLOSED_PLANAR"),
        ([c for z in np.arange(20, 42.5, 2.5) for c in (square(z), hole(z))], "CLOSED_PLANAR"),
    ],
    ids=["nested", "hole first", "xor", "keyhole", "nested, every 2.5 mm"],
)
def test_a_hole_stays_a_hole(tmp_path, contours, kind):
    expected = np.zeros((12, 20, 24), np.uint8)
    expected[4:9, 5:10, 5:12] = 1
    expected[4:9, 6:9, 7:10] = 0
    np.testing.assert_array_equal(rasterised(tmp_path, contours, kind=kind), expected)


def test_an_island_in_a_hole_is_inside(tmp_path):
    island = square(20.0, (16, 14), (18, 16))
    found = rasterised(tmp_path, [island, hole(20.0), square(20.0)])
    assert (found.sum(), found[4, 7, 8]) == (35 - 9 + 1, 1)


def test_contours_as_thin_as_a_line_lie_on_their_slices_as_others_do(tmp_path):
    lines = [np.array([(x, 10.0, 20.0), (x, 14.0, 20.0), (x, 12.0, 20.0)]) for x in (10.0, 16.0, 22.0, 28.0)]
    found = rasterised(tmp_path, [*lines, square(25.0)])
    assert np.flatnonzero(found.any(axis=(1, 2)))[-1] == 5
    assert found[5].sum() == 35


def test_one_contour_between_two_slices_is_on_one_of_them(tmp_path):
    assert rasterised(tmp_path, [square(22.5)]).any(axis=(1, 2)).sum() == 1


def test_two_lesions_of_a_region_stay_two(tmp_path):
    found = rasterised(tmp_path, [square(5.0), square(30.0), square(35.0), square(40.0)])
    assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [1, 6, 7, 8]


def test_contours_on_thicker_slices_are_refused(tmp_path):
    with pytest.raises(CaseError, match="leave out every other slice"):
        rasterised(tmp_path, [square(z) for z in (10.0, 20.0, 30.0, 40.0)])


@pytest.mark.parametrize("contour", [square(20.0, (11.4, 11.4), (12.2, 12.2)), square(22.0, (10, 10), (20, 20))])
def test_a_region_below_a_voxel_is_refused_as_such_and_left_out_with_a_note_beside_others(tmp_path, contour):
    small = [contour, contour + np.array([0, 0, 0.5])]
    with pytest.raises(
        CaseError, match=r"no voxel lies in the regions asked for .smaller than a voxel of the scan: gtv"
    ):
        rasterised(tmp_path, small)
    write_contours(tmp_path / "rs", {"GTV": small, "GTVn": [square(z) for z in ON_SLICES], "Tumor": []})
    with noted() as notes:
        assert to_zyx(read_dicom_labels(tmp_path / "rs", GRID)).any()
    [note] = notes
    assert note.startswith("RTSTRUCT: 2 of 3 regions left out")


def test_derived_structures_are_no_lesion_and_stand_in_a_note(tmp_path):
    write_series(tmp_path / "ct", np.random.default_rng(0).integers(-1000, 100, (12, 20, 24)), step_mm=(0, 0, 5.0))
    around = [square(z, (4, 4), (40, 34)) for z in np.arange(5, 51, 5.0)]
    write_contours(tmp_path / "rs", {"GTVp": [square(z) for z in ON_SLICES], "Lungs-GTV": around, "Heart": around})
    with noted() as notes:
        found = read_lesion(tmp_path / "rs", (), tmp_path / "ct", read_ct(tmp_path / "ct"))
    assert found.sum() == 175
    assert notes == ["lesion: 1 of 3 regions (GTVp); left out: Lungs-GTV"]


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_segments_of_every_type_are_read(tmp_path, kind):
    write_series(tmp_path / "ct", np.random.default_rng(0).integers(-1000, 100, (6, 20, 24)), step_mm=(0, 0, 5.0))
    masks = {name: np.zeros((6, 20, 24), bool) for name in ("Lung", "Tumor 1", "Tumor 2", "Lung-Tumor")}
    for number, mask in enumerate(masks.values()):
        mask[1:5, 3 + 3 * number : 6 + 3 * number, 5:12] = True
    write_segments(tmp_path / "seg", tmp_path / "ct", masks, kind)
    found = read_lesion(tmp_path / "seg", (), tmp_path / "ct", read_ct(tmp_path / "ct"))
    np.testing.assert_array_equal(found, masks["Tumor 1"] | masks["Tumor 2"])
