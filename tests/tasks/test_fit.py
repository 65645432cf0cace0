"""What is said of a scan that differs from what the model was trained for."""

import numpy as np
import pytest

from meddiff.config import Region, WindowsConfig
from meddiff.tasks.fit import misfits
from meddiff.tasks.scan import Scan
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import from_zyx

BODY, LUNG = 118, 10


def scan(spacing_xyz_mm=(2.0, 2.0, 2.0), lung=slice(4, 20)):
    """A chest at 2 mm of a scan with other voxels; lungs in some of its 24 slices."""
    labels = np.full((24, 20, 20), BODY, np.uint8)
    labels[lung, 5:15, 5:15] = LUNG
    source = from_zyx(np.zeros((24, 20, 20), np.int16), 2.0)
    source.SetSpacing(spacing_xyz_mm)
    grid = from_zyx(np.zeros((24, 20, 20), np.int16), 2.0)
    hu = np.zeros(labels.shape, np.int16)
    return Scan(hu, labels, Region.CHEST, WindowsConfig().chest, grid.GetSpacing()[0], source, Grid.of(source), grid)


def test_a_scan_that_fits_is_told_nothing():
    assert misfits(scan()) == []
    assert misfits(scan((1.5, 1.5, 3.0))) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"spacing_xyz_mm": (1.0, 1.0, 5.0)}, "voxels of 5 mm are coarser than the model's 2 mm"),
        ({"spacing_xyz_mm": (0.6, 0.6, 2.0)}, "voxels of 0.6 mm are finer than the model's 2 mm"),
        ({"lung": slice(0, 20)}, "ends within the lungs at its lower end"),
        ({"lung": slice(4, 24)}, "ends within the lungs at its upper end"),
        ({"lung": slice(0, 0)}, "no lungs in what was taken for the chest"),
    ],
)
def test_each_misfit_is_one_line(changes, told):
    (line,) = misfits(scan(**changes))
    assert told in line
