"""The configuration: errors in one line, generated documents, what a stage may read."""

from pathlib import Path

import pytest

from meddiff.config import Config, load_config, parse_config
from meddiff.config.documents import paper_yaml, readme
from meddiff.errors import UserError
from meddiff.stages import STAGES, params_of, restrict, write_stage_config

CONFIG_DIR = Path(__file__).parent.parent / "config"


@pytest.mark.parametrize("name", ["config.yaml", "small.yaml", "phantom.yaml", "paper.yaml"])
def test_committed_configurations_are_valid(name):
    load_config(CONFIG_DIR / name)


def test_paper_configuration_spells_out_the_defaults():
    paper = load_config(CONFIG_DIR / "paper.yaml")
    assert paper.model_copy(update={"data": Config().data}) == Config()
    assert len(paper.data.datasets) == 18


@pytest.mark.parametrize(("name", "text"), [("README.md", readme), ("paper.yaml", paper_yaml)])
def test_generated_documents_are_up_to_date(name, text):
    assert (CONFIG_DIR / name).read_text() == text(), "run `meddiff config --write`"


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"trainin": {}}, ["trainin", "training"]),
        ({"training": {"learning_rat": 1}}, ["training.learning_rat", "value 1", "learning_rate"]),
        ({"training": {"learning_rate": "fast"}}, ["training.learning_rate", "'fast'", "number"]),
        ({"training": {"steps": 0}}, ["training.steps", "0", "greater"]),
        ({"model": {"patch_vox": 100}}, ["model", "100", "multiple of 8", "96"]),
        ({"model": {"attention_levels": [7]}}, ["attention_levels", "7", "0 to 3"]),
        ({"anatomy": {"weights": "demo"}}, ["anatomy", "demo", "set fastest"]),
        ({"data": {"split": [0.5, 0.1, 0.1]}}, ["split", "0.7", "make it 1"]),
        ({"data": {"downstream_split": [0.5, 0.1, 0.1]}}, ["downstream_split", "0.7", "make it 1"]),
        ({"lesions": {"inpainting_steps": 4, "jump_length": 9}}, ["jump_length 9", "inpainting_steps 4", "smaller"]),
        ({"lesions": {"augmentation_diameter_mm": [40, 10]}}, ["augmentation_diameter_mm", "(40, 10)", "smaller one"]),
        ({"data": {"datasets": [{"name": "a"}, {"name": "a"}]}}, ["a", "twice"]),
        ({"models": [{"name": "x", "levels": {"image": 0, "double": 0, "patch": 0}}]}, ["levels", "weight"]),
        ({"models": [{"name": "real"}]}, ["real"]),
        ([1, 2], ["keys and values", "list"]),
    ],
)
def test_mistakes_are_named_in_one_line(tree, words):
    with pytest.raises(UserError) as caught:
        parse_config(tree, "my.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("my.yaml")
    assert all(word in message for word in words), message


def test_missing_and_broken_files_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(UserError, match="not YAML"):
        load_config(tmp_path / "broken.yaml")


def test_a_stage_reads_its_own_sections_only():
    config = restrict(Config(), "resample")
    assert config.data == Config().data
    with pytest.raises(AttributeError):
        _ = config.training


def test_the_learning_rate_concerns_the_training_alone():
    before, after = Config(), parse_config({"training": {"learning_rate": 0.5}}, "")
    changed = {stage for stage in STAGES if params_of(before, stage) != params_of(after, stage)}
    trainings = {"pretrain", "distill", "finetune-lesions", "finetune-super-resolution"}
    assert changed == trainings | {"report"}  # the report prints the whole configuration


def test_one_model_does_not_depend_on_the_other(tmp_path):
    before = Config()
    after = parse_config({"models": [{"name": "meddiff-fm"}, {"name": "ddpm", "position": "coordinates"}]}, "")

    def file_of(config, model):
        return write_stage_config(config, "pretrain", tmp_path, model)

    assert file_of(before, "meddiff-fm") == file_of(after, "meddiff-fm")
    assert file_of(before, "ddpm") != file_of(after, "ddpm")
    assert load_config(file_of(after, "ddpm")).variant("ddpm").position == "coordinates"


def test_a_restricted_configuration_gives_the_same_parameters():
    config = Config()
    assert all(params_of(restrict(config, stage), stage) == params_of(config, stage) for stage in STAGES)


def test_the_full_ablation_has_four_models_each_with_one_thing_more():
    config = parse_config({"ablation": "full"}, "")
    facts = [(v.position, v.levels.image > 0) for v in config.models]
    assert facts == [("embedding", True), ("coordinates", True), ("none", True), ("none", False)]
    assert parse_config(config.model_dump(mode="json"), "") == config
    assert [v.name for v in parse_config({}, "").models] == ["meddiff-fm", "ddpm"]
