"""Which stored regions train, and which run folder they may use."""

from dataclasses import replace

import pytest

from meddiff.errors import UserError
from meddiff.machine.files import read_json, write_json
from meddiff.machine.shards import DONE, Row
from meddiff.training.records import TrainingRecords
from tests.conftest import make_record


def row(folder, split, role="pretraining"):
    record = make_record(folder, seed=1, split=split)
    write_json({**read_json(folder / "meta.json"), "role": role}, record.folder / "meta.json")
    return Row(folder.name, DONE, folder / "meta.json", "0", 0.0, "")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return TrainingRecords.from_rows([row(store / split, split) for split in ("train", "val", "test")])


def test_the_split_decides(records):
    assert [path.name for path in records.training] == ["train"]
    assert [record.meta.id for record in records.held_out()] == ["val"]


def test_what_does_not_train_starts_no_training_anew(tmp_path):
    rows = [row(tmp_path / name, "train") for name in ("a", "b")]
    known = TrainingRecords.from_rows(rows)
    others = [row(tmp_path / "c", "val"), row(tmp_path / "d", "test"), row(tmp_path / "e", "train", "downstream")]
    assert TrainingRecords.from_rows(rows + others).digest == known.digest
    assert TrainingRecords.from_rows([*rows, row(tmp_path / "f", "train")]).digest != known.digest
    assert TrainingRecords.from_rows([rows[0], replace(rows[1], sha256="1")]).digest != known.digest


def test_a_store_without_training_regions_is_refused(tmp_path):
    with pytest.raises(UserError, match="no region of 1 is in the training split"):
        TrainingRecords.from_rows([row(tmp_path / "test", "test")])


def test_a_run_folder_of_another_configuration_or_other_data_is_refused(records, tmp_path):
    records.claim(tmp_path, "a")
    records.claim(tmp_path, "a")
    with pytest.raises(UserError, match="another configuration or other data"):
        records.claim(tmp_path, "b")
    others = TrainingRecords([tmp_path / "other"], [], "")
    with pytest.raises(UserError, match="another configuration or other data"):
        others.claim(tmp_path, "a")
