"""What pretraining adds to the loop: its data, its run folder, what it tells the model's card."""

import json

import pytest

from meddiff.errors import UserError
from meddiff.training.pretrain import check_same_run, last_validation


def test_a_run_folder_of_another_configuration_or_other_data_is_refused(tmp_path):
    identity = {"settings": "a", "records": ["x", "y"]}
    check_same_run(tmp_path, identity)
    check_same_run(tmp_path, identity)
    for other in ({"settings": "b"}, {"records": ["x"]}):
        with pytest.raises(UserError, match="another configuration or other data"):
            check_same_run(tmp_path, identity | other)


def test_the_last_validation_counts(tmp_path):
    name = "validation/chest/patch"
    rows = [{"step": 1, name: 0.5}, {"step": 2, name: 0.25}, {"step": 2, "loss": 1}]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert last_validation(tmp_path) == {"chest/patch": 0.25}


def test_a_run_without_validation_has_none(tmp_path):
    (tmp_path / "stats.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    assert last_validation(tmp_path) == {}
