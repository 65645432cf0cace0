"""What a region looks like, and what many do."""

import numpy as np
import pytest

from meddiff.anatomy.appearance import Appearance, KnownScans
from meddiff.anatomy.labels import BODY, CLASS_IDS
from meddiff.config import Region, WindowsConfig

WINDOW = WindowsConfig().abdomen
LIVER, AORTA, GALLBLADDER = (CLASS_IDS[name] for name in ("liver", "aorta", "gallbladder"))


def abdomen(liver_hu=60, noise_hu=12.0, seed=0):
    """A box of body at 2 mm with a liver, an aorta brighter than the window, and a gallbladder of some voxels."""
    labels = np.full((16, 48, 48), BODY, np.uint8)
    labels[:, :2] = 0
    hu = np.where(labels, 40.0, -1000.0)
    for label, place, value in (
        (LIVER, np.s_[2:14, 6:30, 6:30], liver_hu),
        (AORTA, np.s_[:, 36:44, 36:44], 400),
        (GALLBLADDER, np.s_[4:6, 32:36, 8:12], 5),
    ):
        labels[place], hu[place] = label, value
    return (hu + noise_hu * np.random.default_rng(seed).normal(size=hu.shape)).round().astype(np.int16), labels


def test_a_structure_is_known_by_its_median_within_the_window():
    hu, labels = abdomen()
    look = Appearance.of(hu, labels, 2.0, WINDOW)
    assert look.median_hu == {
        name: np.median(np.clip(hu, WINDOW.low_hu, WINDOW.high_hu)[labels == label])
        for name, label in (("liver", LIVER), ("aorta", AORTA), ("body", BODY))
    }  # the gallbladder is below a millilitre
    assert look.median_hu["aorta"] == WINDOW.high_hu
    assert look.noise_hu == pytest.approx(12, rel=0.1)


def test_a_scan_without_soft_tissue_has_no_noise():
    labels = np.full((8, 16, 16), BODY, np.uint8)
    look = Appearance.of(np.full(labels.shape, -900, np.int16), labels, 2.0, WINDOW)
    assert (look.noise_hu, look.median_hu) == (None, {"body": WINDOW.low_hu})


def test_many_scans_give_ranges():
    looks = [Appearance({"liver": float(hu)}, float(hu) / 5) for hu in range(40, 81)]
    looks += [Appearance({"aorta": 200.0, "liver": 60.0}, None)]
    known = KnownScans.from_scans(looks)
    low, middle, high = known.median_hu["liver"]
    assert (known.scans, middle, known.noise_hu[1]) == (42, 60, 12)
    assert 40 < low < 45 < 75 < high < 80
    assert known.median_hu["aorta"] == (200, 200, 200)
    assert known.described(Region.ABDOMEN).startswith("abdomen of 42 scans, noise of 8.4 to 15.6 HU, 2 structures")
