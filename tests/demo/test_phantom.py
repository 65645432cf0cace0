"""Phantoms: seeded, labelled, with lesions and low-dose pairs."""

import numpy as np
import pytest

from meddiff.anatomy.labels import CLASS_IDS, LUNG, ids
from meddiff.demo.phantom import add_lesion, add_low_dose_noise, make_phantom


def test_the_seed_decides():
    np.testing.assert_array_equal(make_phantom(1, 8.0).ct_zyx, make_phantom(1, 8.0).ct_zyx)
    assert not np.array_equal(make_phantom(1, 8.0).ct_zyx, make_phantom(2, 8.0).ct_zyx)


def test_organs_have_their_density_and_side(body):
    lung = body.ct_zyx[np.isin(body.labels_zyx, ids(*LUNG))]
    assert -950 < np.median(lung) < -700
    x_of = {name: np.argwhere(body.labels_zyx == CLASS_IDS[name])[:, 2].mean() for name in ("liver", "spleen")}
    assert x_of["liver"] < body.ct_zyx.shape[2] / 2 < x_of["spleen"]
    z_of = {name: np.argwhere(body.labels_zyx == CLASS_IDS[name])[:, 0].mean() for name in ("brain", "heart", "sacrum")}
    assert z_of["brain"] > z_of["heart"] > z_of["sacrum"]


def test_a_lesion_lies_in_its_organ(body):
    with_lesion, lesion = add_lesion(body, "liver", radius_mm=12, hu=40, seed=0)
    assert lesion.sum() > 20
    assert (body.labels_zyx[lesion] == CLASS_IDS["liver"]).all()
    assert (with_lesion.ct_zyx[lesion] == 40).all()
    np.testing.assert_array_equal(with_lesion.ct_zyx[~lesion], body.ct_zyx[~lesion])
    with pytest.raises(ValueError, match="no prostate"):
        add_lesion(body, "prostate", 5, 40, 0)


def test_a_low_dose_pair_differs_by_the_noise(body):
    noisy = add_low_dose_noise(body, noise_hu=30, seed=0)
    tissue = body.labels_zyx > 0
    difference = noisy.ct_zyx.astype(float)[tissue] - body.ct_zyx[tissue]
    assert abs(difference.mean()) < 3
    assert abs(difference.std() - 30) < 5
