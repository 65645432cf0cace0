"""Drawn lesion masks: their place, size and shape."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import roots_legendre

from meddiff.anatomy.drawn_lesions import _real_harmonic, draw_lesion
from meddiff.errors import CaseError


@pytest.fixture(scope="module")
def room():
    return np.ones((41, 45, 49), bool)


def lesion(organ, diameter_mm=10.0, spacing_mm=1.0, seed=0):
    return draw_lesion(organ, diameter_mm, spacing_mm, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
def test_a_lesion_lies_inside_the_organ_even_where_it_has_little_room(seed):
    organ = np.zeros((20, 24, 28), bool)
    organ[3:18, 5:12, 4:9] = True
    organ[10:, 18:, 15:] = True
    drawn = lesion(organ, 9.0, seed=seed)
    assert drawn.dtype == bool
    assert drawn.any()
    assert not (drawn & ~organ).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_lesion_lies_where_the_organ_is_deep_enough(seed):
    """A plate with one thick place, which alone has room for a ball of 9 voxels."""
    organ = np.zeros((30, 30, 30), bool)
    organ[14:17] = True
    organ[8:23, 4:19, 4:19] = True
    centre = ndimage.center_of_mass(lesion(organ, 9.0, seed=seed))
    assert all(low <= c <= high for c, low, high in zip(centre, (8, 4, 4), (22, 18, 18), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_border_of_the_volume_ends_the_organ(seed):
    """A cube that has room for a ball of 12 voxels in its middle alone."""
    centre = ndimage.center_of_mass(lesion(np.ones((13, 13, 13), bool), 13.0, seed=seed))
    np.testing.assert_allclose(centre, 6, atol=2)


def test_centres_are_anywhere_in_the_organ(room):
    centres = np.array([ndimage.center_of_mass(lesion(room, 6.0, seed=seed)) for seed in range(30)])
    assert (centres.std(0) > np.array(room.shape) / 8).all()


@pytest.mark.parametrize(("diameter_mm", "spacing_mm"), [(6.0, 1.0), (14.0, 2.0), (5.0, 0.75)])
def test_the_volume_is_on_average_that_of_a_ball(room, diameter_mm, spacing_mm):
    volumes = [lesion(room, diameter_mm, spacing_mm, seed).sum() * spacing_mm**3 for seed in range(20)]
    assert np.mean(volumes) == pytest.approx(np.pi / 6 * diameter_mm**3, rel=0.1)


def test_shapes_are_no_balls_and_differ(room):
    """A ball's principal axes are as long as each other."""
    ratios = []
    for seed in range(10):
        moments = np.linalg.eigvalsh(np.cov(np.argwhere(lesion(room, 9.0, seed=seed)).T))
        ratios.append(np.sqrt(moments[2] / moments[0]))
    assert np.median(ratios) > 1.2
    assert np.std(ratios) > 0.05


def test_the_seed_decides(room):
    assert (lesion(room, seed=3) == lesion(room, seed=3)).all()
    assert (lesion(room, seed=3) != lesion(room, seed=4)).any()


@pytest.mark.parametrize("diameter_mm", [1.0, 2.0, 3.0, 7.0])
def test_a_lesion_is_one_piece(room, diameter_mm):
    for seed in range(10):
        assert ndimage.label(lesion(room, diameter_mm, seed=seed), np.ones((3, 3, 3)))[1] == 1


def test_real_harmonics_are_orthonormal_on_the_sphere():
    """Gauss-Legendre in the cosine of the polar angle and equal steps of the azimuth: exact for these degrees."""
    cosines, weights = roots_legendre(8)
    polar, azimuth = np.meshgrid(np.arccos(cosines), np.arange(16) * np.pi / 8, indexing="ij")
    area = np.repeat(weights[:, None], 16, 1) * np.pi / 8
    keys = [(degree, order) for degree in range(6) for order in range(-degree, degree + 1)]
    values = np.array([_real_harmonic(*key, polar, azimuth) for key in keys])
    assert np.isrealobj(values)
    np.testing.assert_allclose(np.einsum("ipa,jpa,pa->ij", values, values, area), np.eye(len(keys)), atol=1e-12)


def test_no_organ_is_refused(room):
    with pytest.raises(CaseError, match="no organ"):
        lesion(np.zeros_like(room))


def test_a_lesion_smaller_than_a_voxel_is_refused(room):
    with pytest.raises(CaseError, match=r"a lesion of 1\.9 mm is smaller than a voxel of 2 mm"):
        lesion(room, 1.9, 2.0)
