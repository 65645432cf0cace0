"""New anatomies: invertible, within bounds, and never twice the same."""

import numpy as np
import pytest
from scipy import ndimage

from meddiff.anatomy import deformation
from meddiff.anatomy.deformation import NewAnatomy, deformed, new_anatomy, velocity_mm
from meddiff.anatomy.labels import BODY, CLASS_IDS
from meddiff.errors import CaseError
from meddiff.volumes.volumes import from_zyx, to_zyx

LIVER, KIDNEY, AORTA = (CLASS_IDS[name] for name in ("liver", "kidney_right", "aorta"))


@pytest.fixture(scope="module")
def labels():
    """A body at 4 mm with a liver, a kidney beside it, and an aorta from end to end."""
    z, y, x = np.indices((40, 60, 80))
    array = np.zeros(z.shape, np.uint8)
    array[((y - 30) / 26) ** 2 + ((x - 40) / 36) ** 2 < 1] = BODY
    array[((z - 20) / 14) ** 2 + ((y - 26) / 14) ** 2 + ((x - 26) / 16) ** 2 < 1] = LIVER
    array[(z - 18) ** 2 + (y - 40) ** 2 + (x - 56) ** 2 < 49] = KIDNEY
    array[(y - 44) ** 2 + (x - 40) ** 2 < 9] = AORTA
    return from_zyx(array, 4.0, (-100.0, 50.0, 700.0))


def made(labels, seed):
    return new_anatomy(labels, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_folds_and_organs_stay_within_their_bounds(labels, seed):
    new = made(labels, seed)
    assert new.least_jacobian > deformation.LEAST_JACOBIAN
    assert set(new.volume_ratios) == {LIVER, KIDNEY, AORTA, BODY}
    low, high = deformation.VOLUME_RATIOS
    assert all(low < ratio < high for ratio in new.volume_ratios.values())
    sizes = np.array(new.labels.GetSize()) / labels.GetSize()
    assert (np.abs(sizes - 1) < deformation.SIZE + 0.02).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_one_piece_stays_one_and_what_is_outside_stays_there(labels, seed):
    array = to_zyx(made(labels, seed).labels)
    for label in (LIVER, KIDNEY, AORTA):
        assert ndimage.label(array == label, np.ones((3, 3, 3)))[1] == 1
    assert ndimage.label(array > 0)[1] == ndimage.label(array == 0, np.ones((3, 3, 3)))[1] == 1
    assert (array == AORTA).any((1, 2)).all()


def test_every_seed_is_another_anatomy_and_the_same_seed_the_same(labels):
    arrays = [to_zyx(made(labels, seed).labels) for seed in range(3)]
    cut = tuple(slice(0, min(a.shape[i] for a in arrays)) for i in range(3))
    differences = [np.mean(a[cut] != b[cut]) for i, a in enumerate(arrays) for b in arrays[:i]]
    assert min(differences) > 0.01
    np.testing.assert_array_equal(to_zyx(made(labels, 2).labels), arrays[2])


def test_no_velocity_is_no_change_and_size_alone_is_a_larger_body(labels):
    still = velocity_mm(labels, np.random.default_rng(0)) * 0
    same = deformed(labels, still, np.ones(3))
    np.testing.assert_array_equal(to_zyx(same.labels), to_zyx(labels))
    assert same.least_jacobian == pytest.approx(1)
    larger = deformed(labels, still, np.array([1.1, 1.0, 0.9]))
    assert larger.labels.GetSize() == (88, 60, 36)
    assert all(ratio == pytest.approx(1, abs=0.1) for ratio in larger.volume_ratios.values())
    assert larger.volume_ratios[LIVER] == pytest.approx(1, abs=0.02)


def test_an_organ_grows_on_its_own(labels, monkeypatch):
    monkeypatch.setattr(deformation, "DISPLACEMENT_MM", 0.0)
    monkeypatch.setattr(deformation, "ORGAN_GROWTH", 0.6)
    grown = deformed(labels, velocity_mm(labels, Always(0.5)), np.ones(3)).volume_ratios
    assert grown[LIVER] > 1.1
    assert grown[KIDNEY] > 1.1


class Always(np.random.Generator):
    """Draws nothing but one number, in the order of things."""

    def __init__(self, value):
        super().__init__(np.random.PCG64(0))
        self.value = value

    def uniform(self, *_):
        return self.value

    def permutation(self, n):
        return np.arange(n)


def test_a_map_that_the_inverse_field_undoes_is_its_inverse(labels):
    velocity = velocity_mm(labels, np.random.default_rng(3))
    there = deformed(labels, velocity, np.ones(3)).labels
    back = to_zyx(deformed(there, -velocity, np.ones(3)).labels)
    assert np.mean(back == to_zyx(labels)) > 0.98
    assert np.mean(to_zyx(there) == to_zyx(labels)) < 0.98


def test_what_is_not_plausible_is_not_given(labels, monkeypatch):
    assert not NewAnatomy(labels, -0.1, {}).plausible
    assert not NewAnatomy(labels, 1.0, {LIVER: 2.0}).plausible
    monkeypatch.setattr(deformation, "DISPLACEMENT_MM", 400.0)
    monkeypatch.setattr(deformation, "DRAWS", 2)
    with pytest.raises(CaseError, match="none of 2 deformations is plausible"):
        made(labels, 0)
