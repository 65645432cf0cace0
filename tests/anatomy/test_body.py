"""The body class: no table, no holes."""

import numpy as np

from meddiff.anatomy.body import add_body, body_mask
from meddiff.demo.phantom import make_phantom


def test_lungs_are_inside_and_the_table_is_not():
    spacing_mm = 4.0
    chest = make_phantom(0, spacing_mm, "chest")
    ct = chest.ct_zyx.copy()
    back = np.flatnonzero((ct > -300).any((0, 2)))[-1]
    ct[:, back + 3, 10:-10] = 200  # a table 8 mm below the back
    ct[:, back + 1 : back + 3, 48:52] = 200  # and a strap that touches both
    body = body_mask(ct, spacing_mm, -300)
    assert body[chest.labels_zyx > 0].mean() > 0.999
    assert body[:, back + 3].mean() < 0.1
    expected = body_mask(chest.ct_zyx, spacing_mm, -300)
    assert abs(int(body.sum()) - int(expected.sum())) < 0.01 * expected.sum()


def test_air_has_no_body():
    assert not body_mask(np.full((5, 6, 7), -1000), 4.0, -300).any()


def test_the_body_is_the_118th_class_and_covers_no_other():
    labels = np.array([[[0, 5, 0]]], np.uint8)
    np.testing.assert_array_equal(add_body(labels, np.array([[[True, True, False]]])), [[[118, 5, 0]]])
