"""Which records a stage works on."""

import numpy as np
import pytest

from meddiff.machine.shards import COLUMNS, DONE, QUARANTINED
from meddiff.machine.tsv import write_tsv
from meddiff.store.query import by_dataset, held_out, labelled, open_store, where, with_lesions
from meddiff.store.record import write_record

from ..conftest import make_record


@pytest.fixture
def store(tmp_path):
    """Two shards: one with two records, one with a record and a region that was quarantined."""
    splits = {"a": "test", "b": "train", "c": "test"}
    a, b, _ = (make_record(tmp_path / name, 0, split=split) for name, split in splits.items())
    lesion = np.zeros(a.meta.size_zyx, np.uint8)
    write_record(a.folder, a.meta, a.ct[:], a.anatomy[:], 16, lesion)
    lesion[0, 0, 0] = 1
    write_record(b.folder, b.meta, b.ct[:], b.anatomy[:], 16, lesion)

    def row(name, status=DONE):
        return (
            dict.fromkeys(COLUMNS, "")
            | {"id": name, "status": status, "seconds": 0, "sha256": f"sha of {name}"}
            | {"path": tmp_path / name / "meta.json"}
        )

    indices = [tmp_path / "0.tsv", tmp_path / "1.tsv"]
    write_tsv([row("c"), row("a")], COLUMNS, indices[0])
    write_tsv([row("b"), row("lost", QUARANTINED)], COLUMNS, indices[1])
    return open_store(indices)


def ids(records):
    return [record.id for record in records]


def test_finished_records_of_all_shards_are_sorted_and_known_by_checksum(store):
    assert ids(store) == ["a", "b", "c"]
    assert [record.sha256 for record in store] == ["sha of a", "sha of b", "sha of c"]


def test_records_are_chosen_by_what_they_know_of_themselves(store):
    assert ids(where(store, split="test")) == ids(held_out(store)) == ["a", "c"]
    assert where(store, split="test", role="downstream") == where(store, dataset="other") == []
    assert by_dataset(store) == {"phantom": store}
    with pytest.raises(AttributeError):
        where(store, spilt="test")


def test_labels_without_a_lesion_are_labels(store):
    assert (ids(labelled(store)), ids(with_lesions(store))) == (["a", "b"], ["b"])
