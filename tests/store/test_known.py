"""What the regions of a store look like."""

import numpy as np
import pytest

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.store import known
from meddiff.store.known import known_regions

from ..conftest import make_record


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return [make_record(folder / f"body{seed}", seed) for seed in (1, 2, 3)]


def test_a_region_is_described_by_its_records(records):
    ((region, scans),) = known_regions(records).items()
    heart = [np.median(record.ct[:][record.anatomy[:] == CLASS_IDS["heart"]]) for record in records]
    assert (region, scans.scans) == ("chest", 3)
    assert scans.median_hu["heart"][1] == np.median(heart)
    assert scans.median_hu["lung_upper_lobe_left"][2] < -500 < scans.median_hu["body"][0]


def test_of_many_records_some_are_looked_at(records, monkeypatch):
    monkeypatch.setattr(known, "MOST_SCANS", 2)
    assert known_regions(records)["chest"].scans == 2
