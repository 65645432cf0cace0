"""What the index knows of a case is honoured when the case is read."""

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.config import Config, Region
from meddiff.data import volumes
from meddiff.data.headers import Header
from meddiff.data.index import Case
from meddiff.data.prepare import resample
from meddiff.data.shards import read_index

HEADER = Header(1.0, -1024.0, (2.0, 2.0, 2.0), (5.0, 6.0, 7.0), (1, 0, 0, 0, 1, 0))


@pytest.fixture
def stored(tmp_path):
    """A volume of stored values without geometry, like CT-RATE's original ones; 100 mm wide with its table."""
    values_zyx = np.random.default_rng(0).integers(0, 2000, (50, 50, 50)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values_zyx), str(tmp_path / "ct.nii.gz"))
    return tmp_path / "ct.nii.gz"


def run(tmp_path, image, **facts):
    case = Case("ct-rate", "train-1-a-1", image, Region.CHEST, "pretraining", "train", 0, **facts)
    resample([case], Config(), tmp_path / "out", tmp_path / "index.tsv")
    (row,) = read_index(tmp_path / "index.tsv")
    return row


def test_a_header_from_the_publishers_table_is_used(tmp_path, stored):
    row = run(tmp_path, stored, header=HEADER.as_text())
    assert row.status == "done", row.reason
    result = volumes.read_image(row.path)
    assert volumes.to_zyx(result).min() < -900
    np.testing.assert_allclose(np.array(result.GetSize()) * result.GetSpacing(), 100, atol=2)


def test_without_it_the_volume_is_quarantined_and_with_it_made_anew(tmp_path, stored):
    assert run(tmp_path, stored).status == "quarantined"
    assert run(tmp_path, stored, header=HEADER.as_text()).status == "done"


def test_a_duplicate_is_quarantined_with_the_name_of_the_other_scan_also_after_it_was_done(tmp_path, stored):
    assert run(tmp_path, stored, header=HEADER.as_text()).status == "done"
    row = run(tmp_path, stored, header=HEADER.as_text(), quarantine="the same scan as msd-lung_lung-001")
    assert (row.status, row.reason) == ("quarantined", "the same scan as msd-lung_lung-001")
