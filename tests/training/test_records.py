"""Which stored regions train, and which run folder they may use."""

import pytest

from meddiff.errors import UserError
from meddiff.machine.files import read_json, write_json
from meddiff.store.record import Record
from meddiff.training.records import TrainingRecords
from tests.conftest import make_record


def stored(folder, split, role="pretraining"):
    record = make_record(folder, seed=1, split=split)
    write_json({**read_json(record.path), "role": role}, record.path)
    return Record(folder, "0")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return TrainingRecords.from_store([stored(store / split, split) for split in ("train", "val", "test")])


def test_the_split_decides(records):
    assert [record.id for record in records.training] == ["train"]
    assert [record.id for record in records.validation] == ["val"]


def test_what_does_not_train_starts_no_training_anew(tmp_path):
    learned = [stored(tmp_path / name, "train") for name in ("a", "b")]
    known = TrainingRecords.from_store(learned)
    others = [
        stored(tmp_path / "c", "val"),
        stored(tmp_path / "d", "test"),
        stored(tmp_path / "e", "train", "downstream"),
    ]
    assert TrainingRecords.from_store(learned + others).digest == known.digest
    assert TrainingRecords.from_store([*learned, stored(tmp_path / "f", "train")]).digest != known.digest
    assert TrainingRecords.from_store([learned[0], Record(learned[1].folder, "1")]).digest != known.digest


def test_a_store_without_training_regions_is_refused(tmp_path):
    with pytest.raises(UserError, match="no region of 1 is in the training split"):
        TrainingRecords.from_store([stored(tmp_path / "test", "test")])


def test_a_run_folder_of_another_configuration_or_other_data_is_refused(records, tmp_path):
    records.claim(tmp_path, "a")
    records.claim(tmp_path, "a")
    with pytest.raises(UserError, match="another configuration or other data"):
        records.claim(tmp_path, "b")
    others = TrainingRecords([Record(tmp_path / "other")], [], "")
    with pytest.raises(UserError, match="another configuration or other data"):
        others.claim(tmp_path, "a")
