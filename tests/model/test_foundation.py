"""The bundle: what is saved is what is loaded, and misfits are named."""

import json
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from meddiff.cli.model import app
from meddiff.config import (
    AnatomyConfig,
    Config,
    DiffusionConfig,
    NetworkConfig,
    SamplingConfig,
    WindowsConfig,
    load_config,
)
from meddiff.config.stages import restrict
from meddiff.datasets import REGISTRY
from meddiff.diffusion.levels import own_windows
from meddiff.errors import UserError
from meddiff.model.foundation import FoundationModel, read_anatomy_config, write_recipe
from meddiff.model.unet import UNet

ROOT = Path(__file__).parents[2]
SMALL = NetworkConfig(patch_vox=16, channels=8, channel_multipliers=(1, 2), attention_levels=(1,), norm_groups=4)
TRAINING = {
    "steps": 7,
    "samples_per_step": 4,
    "epochs": 14.0,
    "seed": 0,
    "regions_per_dataset": {"d": 2},
    "run": "r",
    "anatomy_weights": "demo",
    "validation": {"chest/patch": 0.25},
}


@pytest.fixture
def bundle(tmp_path):
    torch.manual_seed(0)
    model = FoundationModel(UNet(SMALL), DiffusionConfig(prediction="v"), "tiny", 4.0, WindowsConfig())
    model.save(tmp_path / "tiny", TRAINING)
    return model, tmp_path / "tiny"


def test_the_bundle_reads_back(bundle):
    model, folder = bundle
    loaded = FoundationModel.from_pretrained(folder)
    assert (loaded.name, loaded.diffusion, loaded.network.config) == ("tiny", model.diffusion, SMALL)
    assert (loaded.spacing_mm, loaded.windows) == (4.0, model.windows)
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, loaded.network.state_dict()[name])


def test_the_card_tells_how_it_was_made(bundle):
    card = (bundle[1] / "README.md").read_text()
    words = ("7 steps", "chest/patch 0.2500", "| d | 2 | the owner's |", "demo weights", "Not for diagnosis")
    assert all(each in card for each in words)


def test_the_card_begins_with_what_the_hub_reads(bundle):
    header = huggingface_hub.ModelCard.load(bundle[1] / "README.md").data
    assert (header.license, header.library_name, header.datasets, header.metrics) == (
        "other", "meddiff-fm", ["d"], ["mae"],
    )  # fmt: skip
    assert {"ct", "diffusion"} <= set(header.tags)
    assert [(r.metric_type, r.metric_name, r.metric_value) for r in header.eval_results] == [
        ("mae", "chest/patch", 0.25)
    ]


def test_the_card_names_the_licence_of_every_source(tmp_path):
    counts = {"totalsegmentator": 3, "demo-head": 1, "mine": 2}
    model = FoundationModel(UNet(SMALL), DiffusionConfig(), "tiny", 4.0, WindowsConfig())
    model.save(tmp_path, TRAINING | {"regions_per_dataset": counts, "validation": {}})
    card = (tmp_path / "README.md").read_text()
    for name, count in counts.items():
        licence = REGISTRY[name].licence if name in REGISTRY else "the owner's"
        assert licence
        assert f"| {name} | {count} | {licence} |" in card
    assert "no validation split" in card


def test_every_dataset_of_the_registry_names_a_licence():
    assert [name for name, dataset in REGISTRY.items() if not dataset.licence] == []


def test_half_precision_halves_the_file_and_hardly_moves_a_weight(bundle, tmp_path):
    model, folder = bundle
    model.save(tmp_path / "half", TRAINING, torch.float16)
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = FoundationModel.from_pretrained(tmp_path / "half").network
    for name, tensor in model.network.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=1e-3, atol=1e-7)


def test_a_weight_that_half_precision_does_not_hold_is_named(bundle, tmp_path):
    model, _ = bundle
    model.network.conv_out.bias.data[0] = 1e6
    with pytest.raises(UserError, match=r"conv_out\.bias has values that torch\.float16 does not hold"):
        model.save(tmp_path / "half", TRAINING, torch.float16)
    assert not (tmp_path / "half" / "model.safetensors").exists()


def test_a_bundle_brings_the_anatomy_that_it_was_trained_with(bundle, tmp_path):
    model, folder = bundle
    assert read_anatomy_config(folder) == AnatomyConfig(weights="demo", resolution="fastest")
    model.save(tmp_path / "official", TRAINING | {"anatomy_weights": "official"})
    assert read_anatomy_config(tmp_path / "official") == AnatomyConfig()


def test_misfits_name_the_key_and_the_shapes(bundle):
    folder = bundle[1]
    weights = load_file(folder / "model.safetensors")
    weights["conv_out.weight"] = torch.zeros(1, 4, 3, 3, 3)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"conv_out.weight is \(1, 4, 3, 3, 3\).*needs \(1, 8, 3, 3, 3\)"):
        FoundationModel.from_pretrained(folder)
    del weights["conv_out.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"conv_out.weight is missing"):
        FoundationModel.from_pretrained(folder)


WEIGHTS, CONFIG = "model.safetensors", "config.json"
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 133000000\n"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (WEIGHTS, lambda whole: LFS_POINTER, "a pointer of Git LFS, not the weights"),
        (WEIGHTS, lambda whole: b"<!DOCTYPE html><html>Not found</html>", "a web page, not the weights"),
        (WEIGHTS, lambda whole: whole[:-1000], "no whole safetensors file"),
        (WEIGHTS, lambda whole: b"", "no whole safetensors file"),
        (CONFIG, lambda whole: whole[:100], "not a bundle's configuration"),
        (CONFIG, lambda whole: b"[]", "not a bundle's configuration"),
        (CONFIG, lambda whole: b"\xff\xfe\x00", "not a bundle's configuration"),
        (CONFIG, lambda whole: whole.replace(b'"channels"', b'"dropout"'), r"\(network.dropout: Extra inputs"),
        (CONFIG, lambda whole: whole.replace(b'"spacing_mm"', b'"spacing"'), r"\(spacing_mm: Field required"),
        (CONFIG, lambda whole: whole.replace(b'"v"', b'"velocity"'), r"\(diffusion.prediction: Input should be"),
    ],
)
def test_a_bundle_that_is_none_is_told_in_one_line_with_its_file(bundle, name, change, words):
    path = bundle[1] / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=words) as caught:
        FoundationModel.from_pretrained(bundle[1])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_bundle_from_before_distillation_and_weights_in_half_precision_load(bundle):
    folder = bundle[1]
    config = json.loads((folder / CONFIG).read_text())
    del config["steps"]
    (folder / CONFIG).write_text(json.dumps(config))
    save_file({name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    loaded = FoundationModel.from_pretrained(folder)
    assert loaded.steps is None
    assert next(loaded.network.parameters()).dtype == torch.float32


def test_a_folder_without_a_bundle_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no model bundle"):
        FoundationModel.from_pretrained(tmp_path)


def test_a_repository_id_is_fetched_from_the_hub(bundle, monkeypatch):
    asked = []

    def snapshot_download(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(bundle[1])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert FoundationModel.from_pretrained("owner/tiny").name == "tiny"
    assert asked == [("owner/tiny", ["model.safetensors", "config.json", "README.md"])]


def test_a_hub_that_does_not_answer_is_a_user_error(monkeypatch):
    def snapshot_download(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(UserError, match=r"owner/tiny: no such folder.*ConnectionError.*give its folder"):
        FoundationModel.from_pretrained("owner/tiny")


MEASURED = SamplingConfig(sampler="coarse-to-fine", steps=6)


def test_a_bundle_carries_its_recipe_and_its_weights_stay(bundle):
    _, folder = bundle
    before = (folder / "model.safetensors").read_bytes()
    write_recipe(folder, MEASURED)
    assert FoundationModel.from_pretrained(folder).sampling == MEASURED
    assert json.loads((folder / "config.json").read_text())["sampling"] == {"sampler": "coarse-to-fine", "steps": 6}
    assert 'Sampling: {"sampler": "coarse-to-fine", "steps": 6}' in (folder / "README.md").read_text()
    assert "7 steps" in (folder / "README.md").read_text()  # of the training, as before
    assert (folder / "model.safetensors").read_bytes() == before


def test_the_recipe_counts_where_the_configuration_is_silent(bundle):
    model = replace(bundle[0], sampling=MEASURED)
    silent, given = model.recipe(SamplingConfig(clip_x0=False)), model.recipe(SamplingConfig(steps=10))
    assert (silent.sampler, silent.steps, silent.clip_x0) == ("coarse-to-fine", 6, False)
    assert (given.sampler, given.steps) == ("coarse-to-fine", 10)
    assert model.recipe(SamplingConfig(**SamplingConfig().model_dump())) == SamplingConfig()
    assert bundle[0].recipe(given) == given


OF_SMALL_MODELS = SamplingConfig(steps=2, last_noise=0.7, overlap=0.25, drawing_overlap=0.0625)


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize(
    ("given", "windows"),
    [
        ({}, ("fitted", 0.0625)),
        ({"drawing_overlap": None}, ("averaged", 0.25)),
        ({"drawing_overlap": 0.125}, ("fitted", 0.125)),
        ({"windows": "averaged", "overlap": 0.5}, ("averaged", 0.5)),
        ({"windows": "averaged"}, ("averaged", 0.5)),
        ({"windows": "shifted"}, ("shifted", 0.5)),
        ({"overlap": 0.375}, ("averaged", 0.375)),
        ({"overlap": 0.375, "drawing_overlap": 0.125}, ("fitted", 0.125)),
    ],
)
def test_windows_that_are_configured_are_those_that_draw(bundle, steps, given, windows):
    own = own_windows(replace(bundle[0], sampling=OF_SMALL_MODELS, steps=steps).recipe(SamplingConfig(**given)))
    assert (own.windows, own.overlap) == windows


@pytest.mark.parametrize(
    ("given", "recipe", "last_noise"),
    [
        ({}, ("dpm-solver++", 2, "log-snr"), 0.7),
        ({"solver": "dpm-solver++"}, ("dpm-solver++", 2, "log-snr"), 0.7),
        ({"sampler": "coarse-to-fine"}, ("dpm-solver++", 2, "log-snr"), 0.7),
        ({"solver": "ddpm"}, ("ddpm", 1000, "trailing"), 0.02),
        ({"solver": "unipc"}, ("unipc", 10, "trailing"), 0.02),
        ({"solver": "unipc", "steps": 7}, ("unipc", 7, "trailing"), 0.02),
    ],
)
def test_another_solver_takes_none_of_the_steps_of_the_recipe(bundle, given, recipe, last_noise):
    found = replace(bundle[0], sampling=OF_SMALL_MODELS).recipe(SamplingConfig(**given))
    assert (found.recipe("v"), found.last_noise, found.drawing_overlap) == (recipe, last_noise, 0.0625)


def test_steps_of_a_recipe_with_a_solver_of_its_own_are_for_that_alone(bundle):
    model = replace(bundle[0], sampling=SamplingConfig(solver="unipc", steps=3))
    found = [
        model.recipe(SamplingConfig(**given)).recipe("v") for given in ({}, {"solver": "unipc"}, {"solver": "auto"})
    ]
    assert found == [("unipc", 3, "trailing")] * 2 + [("dpm-solver++", 10, "log-snr")]


@pytest.mark.parametrize("name", ["config", "small", "paper"])
def test_the_recipe_changes_nothing_of_what_the_projects_configurations_set(bundle, name):
    config = load_config(ROOT / "config" / f"{name}.yaml").sampling
    assert replace(bundle[0], sampling=OF_SMALL_MODELS).recipe(config) == config


def test_a_stage_gets_no_keys_from_the_recipe_that_it_does_not_read(bundle):
    model = replace(bundle[0], sampling=SamplingConfig(sampler="coarse-to-fine", overlap=0.125))
    read = model.recipe(restrict(Config(), "denoise_pairs").sampling)
    assert read.overlap == 0.125
    assert not hasattr(read, "sampler")


def test_a_configuration_that_contradicts_the_recipe_is_refused(bundle):
    with pytest.raises(UserError, match=r"sampling, with tiny's own recipe: sampler coarse-to-fine with solver ddim"):
        replace(bundle[0], sampling=MEASURED).recipe(SamplingConfig(solver="ddim"))


def test_a_distilled_model_takes_no_other_steps_and_any_sampler(bundle, tmp_path):
    own = replace(bundle[0], steps=4).recipe(SamplingConfig(sampler="coarse-to-fine", steps=6))
    windows = replace(bundle[0], steps=4, sampling=SamplingConfig(drawing_overlap=0.125)).recipe(SamplingConfig())
    assert (windows.steps, windows.drawing_overlap) == (4, 0.125)
    assert (own.sampler, own.solver, own.steps, own.spacing) == ("coarse-to-fine", "ddim", 4, "trailing")
    replace(bundle[0], steps=4).save(tmp_path / "student", TRAINING)
    with pytest.raises(UserError, match="was distilled to 4 steps of DDIM, which are its recipe"):
        write_recipe(tmp_path / "student", MEASURED)


@pytest.mark.parametrize("written", [True, False])
def test_model_info_prints_the_recipe(bundle, tmp_path, written):
    (tmp_path / "own.yaml").write_text("sampling: {sampler: coarse-to-fine, steps: 6}")
    run = CliRunner().invoke
    if written:
        done = run(app, ["recipe", str(bundle[1]), "--config", str(tmp_path / "own.yaml")])
        assert done.exit_code == 0, done.output
    last = run(app, ["info", str(bundle[1])]).output.splitlines()[-1]
    assert last == f"sampling: {json.dumps(MEASURED.model_dump(exclude_unset=True)) if written else 'any solver'}"
