"""What the rules read of a configuration without the package is what the package reads of it."""

import importlib.util
import json

import pytest
import yaml

from meddiff.config import TRAINED_DENOISERS, Config, load_config, parse_config
from meddiff.config.machine import MachineConfig
from meddiff.config.stages import STAGES, params_of
from meddiff.datasets import REGISTRY, resolve
from meddiff.errors import UserError
from tests.phantom_run import ROOT

SCHEMAS = [(ROOT / "workflow" / "schemas" / f"{name}.yaml").read_text() for name in ("config.schema", "package")]
NAMES = ("config.yaml", "small.yaml", "phantom.yaml", "my-scans.yaml", "paper.yaml")


def rules_own_module():
    spec = importlib.util.spec_from_file_location("settings", ROOT / "workflow" / "settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings_of_rules(tree):
    return rules_own_module().Settings(tree, *SCHEMAS)


# Configurations as people write them, and as they come from a command line, where all values are text.
TREES = {name: yaml.safe_load((ROOT / "config" / name).read_text()) for name in NAMES} | {
    "defaults": {},
    "ablation": {"ablation": "full"},
    "ablation and models": {"ablation": "full", "models": [{"name": "own", "levels": {"patch": 2}}]},
    "text": {
        "training": {"steps": "40", "learning_rate": "1e-4", "bfloat16": "False"},
        "data": {"split": ["0.8", "1e-1", "0.1"]},
        "machine": {"compile": "yes", "cuda_graphs": "0", "memory_gb": "4"},
        "model": {"channel_multipliers": ["1", "2"], "attention_levels": ["1"]},
    },
    "whole numbers": {"windows": {"han": {"level_hu": 40, "width_hu": 300}}, "regions": {"margin_mm": 12}, "seed": 3},
    "a part of a section with a default of its own": {"finetuning": {"levels": {"image": 1}}},
    "own data": {
        "output_dir": "./somewhere//else/",
        "data": {"datasets": [{"name": "own", "root": "/a//b/", "region": "chest", "lesion": "x/{name}"}]},
    },
}


@pytest.mark.parametrize("name", TREES)
def test_rules_have_the_packages_values(name):
    ours, config = settings_of_rules(TREES[name]), parse_config(TREES[name], name)
    assert ours.tree == config.model_dump(mode="json")
    for stage in STAGES:
        assert ours.reads(stage) == params_of(config, stage)
    for model in ours.models:
        assert ours.reads("pretrain", model) == params_of(config.with_model(model), "pretrain")
    for denoiser in TRAINED_DENOISERS:  # none runs again when another one's section changes
        section = denoiser.replace("-", "_")
        assert set(json.loads(ours.reads("train_denoiser", denoiser))) == {"seed", section, "version"}


def test_rules_know_the_registry():
    given = [{"name": name, "root": "/somewhere"} for name in REGISTRY]
    given += [
        {"name": f"own-{number}", "root": "/here", "region": "chest"} | ({"lesion": "x"} if number else {})
        for number in (0, 1)
    ]
    tree = {"data": {"datasets": given}}
    ours, entries = settings_of_rules(tree), parse_config(tree, "").data.datasets
    known = {entry.name: resolve(entry, ROOT) for entry in entries}
    told = {fact: {dataset["name"] for dataset in ours.datasets(fact)} for fact in ("provided", "lesion", "thick")}
    assert told["provided"] == {name for name, dataset in known.items() if dataset.provider != "disk"}
    assert told["lesion"] == {name for name, dataset in known.items() if dataset.lesion}
    assert told["thick"] == {name for name, dataset in known.items() if dataset.thick}


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"colour": "red"}, "unknown key colour (value 'red'); known keys: output_dir, seed"),
        ({"trainin": {}}, "unknown key trainin (value {}); did you mean training?"),
        (
            {"training": {"learning_rat": 1}},
            "unknown key training.learning_rat (value 1); did you mean training.learning_rate?",
        ),
        (
            {"training": {"learning_rate": "-1"}},
            "training.learning_rate: -1.0 is less than or equal to the minimum of 0",
        ),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate: 'fast' is not of type 'number'"),
        ({"training": {"batch_size": 1.5}}, "training.batch_size: 1.5 is not of type 'integer'"),
        ({"training": [1]}, "training: [1] is not of type 'object'"),
        ({"training": None}, "training: None is not of type 'object'"),
        ({"data": {"datasets": [{"region": "chest"}]}}, "data.datasets.0: 'name' is a required property"),
        ({"data": {"split": [1]}}, "data.split: [1.0] is too short"),
        ({"anatomy": {"resolution": "best"}}, "anatomy.resolution: 'best' is not one of ['full', 'fast', 'fastest']"),
    ],
)
def test_a_mistake_is_a_line_with_key_and_value(tree, line):
    with pytest.raises(ValueError, match=line[:9]) as caught:
        settings_of_rules(tree)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        parse_config(tree, "")


@pytest.mark.parametrize("name", MachineConfig.model_fields)
def test_a_key_that_has_moved_is_found(name):
    old = {"data_shards": "data.shards", "sampling_shards": "sampling.shards", "device": "device"}
    places = ("training", "sampling")
    keys = [old[name]] if name in old else [f"{place}.{name}" for place in places]
    for key in keys:
        section, _, inner = key.rpartition(".")
        with pytest.raises(ValueError, match=rf"unknown key {key} .*did you mean machine\.{name}\?"):
            settings_of_rules({section: {inner: 1}} if section else {inner: 1})


def test_every_key_has_a_type_a_meaning_and_a_default_in_the_schema():
    def keys(schema, place=""):
        for name, part in schema["properties"].items():
            yield f"{place}{name}", part, name in schema.get("required", ())
            yield from keys(part, f"{place}{name}.") if "properties" in part else ()

    found = list(keys(yaml.safe_load(SCHEMAS[0])))
    assert len(found) > 150
    assert all("description" in part and "type" in part for _, part, _ in found), found
    assert all("default" in part or "properties" in part or required for _, part, required in found)
    assert json.loads(json.dumps(Config().model_dump(mode="json"))) == settings_of_rules({}).tree


def test_no_committed_configuration_is_refused():
    assert all(settings_of_rules(TREES[name]).models for name in NAMES)
    assert all(load_config(ROOT / "config" / name) for name in NAMES)


def check_place(output_dir, *names):
    module = rules_own_module()
    datasets = [{"name": name} for name in names]
    tree = ({"output_dir": str(output_dir)} if output_dir else {}) | {"data": {"datasets": datasets}}
    module.check_place(module.Settings(tree, *SCHEMAS))


def write_manifest_of(folder, dataset):
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "manifest.tsv").write_text(f"dataset\tcase\n{dataset}\ta\n")


def test_a_run_does_not_write_into_the_results_of_another_one(tmp_path):
    write_manifest_of(tmp_path, "demo-chest")
    check_place(tmp_path, "demo-chest", "mine")
    with pytest.raises(ValueError, match="holds the results of demo-chest, which this configuration does not name"):
        check_place(tmp_path, "mine")
    with pytest.raises(ValueError, match="names none"):
        check_place(tmp_path)


def test_own_scans_need_a_folder_that_somebody_has_chosen_unless_they_are_there_already(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_place(None, "demo-chest", "amos22")
    check_place(tmp_path / "chosen", "mine")
    with pytest.raises(ValueError, match="output_dir is not given, and mine is a dataset of your own"):
        check_place(None, "demo-chest", "mine")
    write_manifest_of(tmp_path / "results", "mine")
    check_place(None, "mine")
