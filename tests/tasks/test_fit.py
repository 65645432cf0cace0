"""What is said of a scan that differs from what the model was trained for, and what is refused."""

import logging

import numpy as np
import pytest

from meddiff.anatomy.appearance import Appearance, KnownScans
from meddiff.anatomy.labels import BODY, CLASS_IDS
from meddiff.config import Region, WindowsConfig
from meddiff.errors import CaseError
from meddiff.tasks.fit import anatomy_misfits, check_fit, scan_misfits, thinning_misfits
from meddiff.tasks.scan import Scan
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import from_zyx

LUNG, HEART, LIVER = (CLASS_IDS[name] for name in ("lung_upper_lobe_left", "heart", "liver"))
SHAPE, WINDOW = (24, 20, 20), WindowsConfig().chest


def scan(spacing_xyz_mm=(2.0, 2.0, 2.0), lung=slice(4, 20), heart_hu=40, noise_hu=10.0, heart=HEART):
    """A chest at 2 mm of a scan with other voxels; lungs in some of its 24 slices, a heart in all."""
    labels = np.full(SHAPE, BODY, np.uint8)
    labels[lung, 5:15, 5:10], labels[:, 5:15, 12:18] = LUNG, heart
    values = {BODY: 30.0, LUNG: -800.0, heart: heart_hu}
    noise = np.random.default_rng(0).normal(0, noise_hu, SHAPE)
    hu = (np.vectorize(values.get)(labels) + noise).round().astype(np.int16)
    source = from_zyx(hu, 2.0)
    source.SetSpacing(spacing_xyz_mm)
    return Scan(hu, labels, Region.CHEST, WINDOW, 2.0, source, Grid.of(source), from_zyx(hu, 2.0))


def known(*scans):
    looks = [Appearance.of(each.hu_zyx, each.anatomy_zyx, 2.0, WINDOW) for each in scans]
    return {Region.CHEST: KnownScans.from_scans(looks)}


KNOWN = known(scan(), scan(heart_hu=60))


def test_a_scan_that_fits_is_told_nothing():
    assert list(scan_misfits(scan(), KNOWN)) == list(scan_misfits(scan((1.5, 1.5, 3.0)), {})) == []
    assert list(scan_misfits(scan(heart_hu=80, noise_hu=13), KNOWN)) == []


@pytest.mark.parametrize(
    ("changes", "told", "spoils"),
    [
        ({"spacing_xyz_mm": (1.0, 1.0, 5.0)}, "voxels of 5 mm are coarser than the model's 2 mm", False),
        ({"spacing_xyz_mm": (0.6, 0.6, 2.0)}, "voxels of 0.6 mm are finer than the model's 2 mm", False),
        ({"lung": slice(0, 20)}, "ends within the lungs at its lower end", False),
        ({"lung": slice(4, 24)}, "ends within the lungs at its upper end", False),
        ({"lung": slice(0, 0)}, "no lungs in what was taken for the chest", True),
        ({"heart_hu": 300}, "in brackets: heart 300 HU (41 to 59 HU); contrast agent", False),
        ({"noise_hu": 40.0}, "HU in the model's training: it draws the latter", False),
        ({"noise_hu": 3.0}, "HU in the model's training: it draws the latter", False),
        ({"heart": LIVER}, "in no scan of the model's training: liver (15.0% of the body)", True),
    ],
)
def test_each_misfit_is_one_line(changes, told, spoils):
    (misfit,) = scan_misfits(scan(**changes), KNOWN)
    assert told in misfit.text
    assert misfit.spoils == spoils


def test_a_region_that_the_model_does_not_know_is_refused():
    labels = np.where(scan().anatomy_zyx == LUNG, LIVER, BODY).astype(np.uint8)
    (misfit,) = anatomy_misfits(labels, Region.ABDOMEN, KNOWN)
    assert misfit.spoils
    assert misfit.text == "no abdomen was in the model's training, which knows chest"
    assert list(anatomy_misfits(labels, Region.ABDOMEN, {})) == []


def test_thin_slices_of_larger_voxels_than_the_scans_are_refused():
    assert list(thinning_misfits((0.7, 0.7, 5.0), 1.0)) == []
    (misfit,) = thinning_misfits((0.7, 0.7, 10.0), 2.0)
    assert misfit.spoils
    assert "voxels of 0.7 x 0.7 x 10 mm are smaller than the model's 2 mm" in misfit.text


def test_what_spoils_the_result_ends_in_one_line_unless_told_otherwise(caplog):
    spoilt = scan((1.0, 1.0, 5.0), lung=slice(0, 0))
    with caplog.at_level(logging.WARNING), pytest.raises(CaseError, match=r"no lungs in .*; --anyway goes on"):
        check_fit(scan_misfits(spoilt, KNOWN))
    assert [record.message for record in caplog.records] == [
        "voxels of 5 mm are coarser than the model's 2 mm: what it expects between them is interpolated"
    ]
    check_fit(scan_misfits(spoilt, KNOWN), anyway=True)
    assert "no lungs in what was taken for the chest" in caplog.messages[-1]
