"""Pretraining from the store to a bundle."""

import pytest
import torch

from meddiff import weights
from meddiff.config import parse_config
from meddiff.config.stages import restrict
from meddiff.errors import UserError
from meddiff.machine.files import read_json, sha256, write_json
from meddiff.machine.shards import DONE, Row
from meddiff.machine.tsv import write_tsv
from meddiff.model.foundation import WEIGHTS, FoundationModel
from meddiff.model.packing import pack
from meddiff.training import loop
from meddiff.training.pretrain import pretrain
from tests.conftest import make_record
from tests.training import SMALL

TREE = {
    "model": SMALL.model_dump(exclude={"position"}),
    "training": {"epochs": 3, "batch_size": 2, "accumulation": 1, "bfloat16": False},
    "models": [{"name": "tiny"}],
    "machine": {"device": "cpu", "workers": 0, "validation_patches": 1, "validate_every": 1},
}


def stored(folder, split, role):
    record = make_record(folder, seed=1, split=split)
    write_json({**read_json(folder / "meta.json"), "role": role}, folder / "meta.json")
    return vars(Row(record.meta.id, DONE, folder / "meta.json", sha256(folder / "meta.json"), 0.0, ""))


def test_a_downstream_dataset_and_another_machine_train_nothing_anew(tmp_path, monkeypatch):
    rows = [stored(tmp_path / "a", "train", "pretraining"), stored(tmp_path / "b", "val", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")

    def run(**machine):
        config = restrict(parse_config(TREE | {"machine": TREE["machine"] | machine}, ""), "pretrain")
        pretrain(config, "tiny", [tmp_path / "store.tsv"], tmp_path / "runs", tmp_path / "out", float("inf"))
        return sha256(tmp_path / "out" / WEIGHTS)

    first = run()
    rows.append(stored(tmp_path / "0-downstream", "train", "downstream"))
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    monkeypatch.setattr(loop.State, "advance", lambda *_: pytest.fail("it trains"))
    changed = {"status_seconds": 7, "workers": 1, "keep_checkpoints": 1, "checkpoint_minutes": 3, "validate_every": 2}
    assert run(activation_checkpointing=True, **changed) == first
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_how_often_a_training_is_watched_does_not_change_it(tmp_path):
    rows = [stored(tmp_path / "a", "train", "pretraining"), stored(tmp_path / "b", "val", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    found = set()
    for name, machine in {"often": {"sample_every": 1}, "once": {"validate_every": 9, "validation_patches": 2}}.items():
        config = restrict(parse_config(TREE | {"machine": TREE["machine"] | machine}, ""), "pretrain")
        out = tmp_path / name
        pretrain(config, "tiny", [tmp_path / "store.tsv"], out / "runs", out, float("inf"))
        found.add(sha256(out / WEIGHTS))
    assert len(found) == 1


@pytest.mark.parametrize(("changes", "steps"), [({}, 5), ({"accumulation": 2}, 3), ({"batch_size": 1}, 9)])
def test_epochs_become_steps_of_the_training_regions(tmp_path, changes, steps):
    rows = [stored(tmp_path / name, "train", "pretraining") for name in "abc"]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    config = restrict(parse_config(TREE | {"training": TREE["training"] | changes}, ""), "pretrain")
    pretrain(config, "tiny", [tmp_path / "store.tsv"], tmp_path / "runs", tmp_path / "out", float("inf"))
    facts = read_json(tmp_path / "out" / "config.json")["training"]
    samples = config.training.samples_per_step
    assert (facts["steps"], facts["samples_per_step"], facts["epochs"]) == (steps, samples, steps * samples / 3)


def trained(tmp_path, name, **changes):
    config = restrict(parse_config({**TREE, "training": TREE["training"] | changes}, ""), "pretrain")
    out = tmp_path / name
    pretrain(config, "tiny", [tmp_path / "store.tsv"], tmp_path / "runs", out, float("inf"))
    return FoundationModel.from_pretrained(out).network.state_dict()


def test_training_starts_from_the_weights_of_a_bundle(tmp_path):
    rows = [stored(tmp_path / "a", "train", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    first = trained(tmp_path, "first", learning_rate=1e-3)
    (tmp_path / "first").rename(tmp_path / "tiny")
    for start in ("tiny", "{model}"):
        hardly = trained(tmp_path, "hardly", learning_rate=1e-30, start_from=str(tmp_path / start))
        assert max(float((hardly[name] - tensor).abs().max()) for name, tensor in first.items()) < 1e-25


def test_training_starts_from_the_weights_that_come_with_the_package(tmp_path, monkeypatch):
    rows = [stored(tmp_path / "a", "train", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    first = trained(tmp_path, "first", learning_rate=1e-3)
    pack({"tiny": tmp_path / "first"}, tmp_path / "packed")
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "packed")
    hardly = trained(tmp_path, "hardly", learning_rate=1e-30, start_from="shipped")
    for name, tensor in first.items():
        torch.testing.assert_close(hardly[name], tensor.half().float(), rtol=1e-6, atol=1e-25)
    facts = read_json(tmp_path / "hardly" / "config.json")["training"]
    assert facts["started_from"] == sha256(tmp_path / "packed" / "tiny" / WEIGHTS)


def test_without_shipped_weights_training_from_them_is_refused(tmp_path, monkeypatch):
    rows = [stored(tmp_path / "a", "train", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"training.start_from shipped: tiny: no model .*; none trains from nothing"):
        trained(tmp_path, "out", start_from="shipped")


def test_none_trains_from_nothing(tmp_path):
    rows = [stored(tmp_path / "a", "train", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    trained(tmp_path, "plain")
    trained(tmp_path, "none", start_from="none")
    assert sha256(tmp_path / "none" / WEIGHTS) == sha256(tmp_path / "plain" / WEIGHTS)
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_bundle_says_by_which_recipe_it_was_made_and_names_no_folder(tmp_path):
    rows = [stored(tmp_path / "a", "train", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    trained(tmp_path, "start")
    trained(tmp_path, "out", start_from=str(tmp_path / "start"))
    written = (tmp_path / "out" / "config.json").read_text()
    recipe = read_json(tmp_path / "out" / "config.json")["training"]["recipe"]
    assert recipe["training"]["learning_rate"] == parse_config(TREE, "").training.learning_rate
    assert recipe["model"]["channels"] == TREE["model"]["channels"]
    assert str(tmp_path) not in written


def test_a_run_belongs_to_the_weights_that_it_started_from(tmp_path):
    rows = [stored(tmp_path / "a", "train", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    for seed in (1e-3, 2e-3):
        trained(tmp_path, "start", learning_rate=seed)
        trained(tmp_path, "out", start_from=str(tmp_path / "start"))
    assert len(list((tmp_path / "runs").iterdir())) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": TREE["model"] | {"channels": 16}}, r"channels 8 \(here 16\); take its values"),
        ({"diffusion": {"prediction": "v"}}, r"prediction epsilon \(here v\)"),
        ({"training": TREE["training"] | {"start_from": "nowhere"}}, "nowhere: no model bundle"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(tmp_path, change, message):
    rows = [stored(tmp_path / "a", "train", "pretraining")]
    write_tsv(rows, tuple(rows[0]), tmp_path / "store.tsv")
    trained(tmp_path, "start")
    start = {"training": TREE["training"] | {"start_from": str(tmp_path / "start")}}
    config = restrict(parse_config(TREE | start | change, ""), "pretrain")
    with pytest.raises(UserError, match=message):
        pretrain(config, "tiny", [tmp_path / "store.tsv"], tmp_path / "runs", tmp_path / "out", float("inf"))
