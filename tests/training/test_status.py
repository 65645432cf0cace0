"""What a run's statistics tell."""

import json

from meddiff.training.status import last_validation


def test_the_last_validation_counts(tmp_path):
    name = "validation/chest/patch"
    rows = [{"step": 1, name: 0.5}, {"step": 2, name: 0.25}, {"step": 2, "loss": 1}]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert last_validation(tmp_path) == {"chest/patch": 0.25}


def test_a_run_without_validation_has_none(tmp_path):
    (tmp_path / "stats.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    assert last_validation(tmp_path) == {}
