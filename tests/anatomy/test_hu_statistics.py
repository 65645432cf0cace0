"""HU statistics against numpy's own on the same voxels."""

import numpy as np
import pytest

from meddiff.anatomy.hu_statistics import COLUMNS, PERCENTILES, hu_statistics
from meddiff.anatomy.labels import CLASS_IDS, LUNG, ids
from meddiff.config import Window

SPACING_MM = 6.0
WINDOW = Window(level_hu=60, width_hu=360)


@pytest.fixture(scope="module")
def numbers(body, labels_zyx):
    return hu_statistics(body.ct_zyx, labels_zyx, SPACING_MM, WINDOW)


def test_the_numbers_are_numpys(numbers, body, labels_zyx):
    hu = body.ct_zyx[labels_zyx > 0]
    assert tuple(numbers) == COLUMNS
    assert (numbers["min_hu"], numbers["max_hu"]) == (hu.min(), hu.max())
    assert numbers["mean_hu"] == pytest.approx(hu.mean(), abs=0.05)
    for p in PERCENTILES:
        assert numbers[f"p{p:02d}_hu"] == np.percentile(hu, p, method="inverted_cdf")
    assert numbers["below_window"] == pytest.approx((hu < -120).mean(), abs=5e-5)
    assert numbers["above_window"] == pytest.approx((hu > 240).mean(), abs=5e-5)


def test_volumes_are_in_millilitres(numbers, labels_zyx):
    ml = SPACING_MM**3 / 1000
    assert numbers["body_ml"] == pytest.approx((labels_zyx > 0).sum() * ml, abs=0.05)
    assert numbers["lung_ml"] == pytest.approx(np.isin(labels_zyx, ids(*LUNG)).sum() * ml, abs=0.05)
    assert numbers["liver_ml"] == pytest.approx((labels_zyx == CLASS_IDS["liver"]).sum() * ml, abs=0.05)
    assert numbers["lung_ml"] > 0
    assert numbers["liver_ml"] > 0


def test_air_outside_the_body_does_not_count(numbers, body, labels_zyx):
    ct, labels = (np.pad(volume, 9, constant_values=air) for volume, air in ((body.ct_zyx, -1024), (labels_zyx, 0)))
    assert hu_statistics(ct, labels, SPACING_MM, WINDOW) == numbers


def test_metal_at_the_end_of_int16_is_counted(body, labels_zyx):
    ct = body.ct_zyx.copy()
    ct[labels_zyx == CLASS_IDS["sternum"]] = np.iinfo(np.int16).max
    assert hu_statistics(ct, labels_zyx, SPACING_MM, WINDOW)["max_hu"] == 32767
