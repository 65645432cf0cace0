"""The configuration: errors in one line, generated documents, what a stage may read."""

from pathlib import Path

import pytest
import yaml

from meddiff.cli.documents import documents
from meddiff.config import Config, SamplingConfig, Section, load_config, parse_config
from meddiff.config.stages import STAGES, load_stage_config, params_of, restrict, settings_of
from meddiff.errors import UserError

CONFIG_DIR = Path(__file__).parent.parent / "config"


@pytest.mark.parametrize("name", ["config.yaml", "small.yaml", "phantom.yaml", "my-scans.yaml", "paper.yaml"])
def test_committed_configurations_are_valid(name):
    load_config(CONFIG_DIR / name)


def test_paper_configuration_spells_out_the_defaults_and_v3s_super_resolution():
    paper = load_config(CONFIG_DIR / "paper.yaml")
    ancestral = {"solver": "ddpm", "steps": 1000, "spacing": "trailing"}
    v3 = {"sigma_n": 1.0, "steps": 100, "keep_slice_means": False}
    others = {"sampling": ancestral, "output_dir": "results/paper", "super_resolution": v3}
    assert paper.model_copy(update={"data": Config().data}) == parse_config(others, "")
    assert len(paper.data.datasets) == 18


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_the_papers_training_may_be_shared_by_any_number_of_gpus(processes):
    tree = yaml.safe_load((CONFIG_DIR / "paper.yaml").read_text())
    tree["machine"]["processes"] = processes
    assert parse_config(tree, "paper").training == Config().training


@pytest.mark.parametrize("name", documents())
def test_generated_documents_are_up_to_date(name):
    assert (CONFIG_DIR.parent / name).read_text() == documents()[name], "run `meddiff config --write`"


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"trainin": {}}, ["trainin", "training"]),
        ({"training": {"processes": 4}}, ["training.processes (value 4) is machine.processes now"]),
        ({"device": "cpu"}, ["device (value 'cpu') is machine.device now"]),
        ({"data": {"shards": 4}}, ["data.shards (value 4) is machine.data_shards now"]),
        ({"sampling": {"shards": 4}}, ["sampling.shards (value 4) is machine.sampling_shards now"]),
        ({"machine": {"procesess": 4}}, ["unknown key machine.procesess", "did you mean processes"]),
        ({"machine": {"processes": 4, "nodes": 3}}, ["machine", "processes 4", "nodes 3", "choose a multiple"]),
        ({"training": {"learning_rat": 1}}, ["training.learning_rat", "value 1", "learning_rate"]),
        ({"training": {"learning_rate": "fast"}}, ["training.learning_rate", "'fast'", "number"]),
        ({"training": {"steps": 0}}, ["training.steps", "0", "greater"]),
        ({"training": {"steps": 9, "epochs": 2}}, ["training: epochs 2 and steps 9", "one of them"]),
        ({"training": {"steps": None, "epochs": None}}, ["training: epochs None and steps None", "one of them"]),
        ({"model": {"patch_vox": 100}}, ["model", "100", "multiple of 8", "96"]),
        ({"model": {"attention_levels": [7]}}, ["attention_levels", "7", "0 to 3"]),
        ({"model": {"attention_heads": 3}}, ["attention_heads 3", "256 channels", "choose 1"]),
        ({"model": {"attention_levels": [], "attention_heads": 24}}, ["heads 24", "256", "middle", "choose 8"]),
        ({"model": {"channels": 9, "norm_groups": 9}}, ["channels 9 is odd", "choose 10"]),
        ({"model": {"channel_multipliers": [], "attention_levels": []}}, ["model.channel_multipliers", "at least 1"]),
        ({"seed": 2**64}, ["seed", "less than or equal to"]),
        ({"anatomy": {"weights": "demo"}}, ["anatomy", "demo", "set fastest"]),
        ({"data": {"split": [0.5, 0.1, 0.1]}}, ["split", "0.7", "make it 1"]),
        ({"data": {"downstream_split": [0.5, 0.1, 0.1]}}, ["downstream_split", "0.7", "make it 1"]),
        ({"lesions": {"inpainting_steps": 4, "jump_length": 9}}, ["jump_length 9", "inpainting_steps 4", "smaller"]),
        ({"lesions": {"augmentation_diameter_mm": [40, 10]}}, ["augmentation_diameter_mm", "(40, 10)", "smaller one"]),
        ({"data": {"datasets": [{"name": "a"}, {"name": "a"}]}}, ["a", "twice"]),
        ({"sampling": {"int8": True, "bfloat16": False}}, ["sampling: int8 without bfloat16", "set bfloat16 to true"]),
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
    with pytest.raises(UserError, match="no such file"):
        load_config(tmp_path)


LINES = "output_dir: Prüfung\nseed: 3\n"


@pytest.mark.parametrize(
    "content",
    [LINES.encode(), LINES.encode("utf-8-sig"), LINES.encode("utf-16"), LINES.replace("\n", "\r\n").encode()],
    ids=["utf-8", "byte order mark", "utf-16", "windows line ends"],
)
def test_a_configuration_is_read_as_editors_save_it(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    config = load_config(tmp_path / "config.yaml")
    assert (str(config.output_dir), config.seed) == ("Prüfung", 3)


def test_another_encoding_is_told_in_one_line(tmp_path):
    (tmp_path / "config.yaml").write_bytes(LINES.encode("latin-1"))
    with pytest.raises(UserError, match=r"config.yaml: not UTF-8 \(.*\); save it with that encoding") as caught:
        load_config(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_a_section_that_stands_twice_is_told(tmp_path):
    (tmp_path / "config.yaml").write_text("data:\n  spacing_mm: 5\nseed: 1\ndata:\n  datasets: []\n")
    with pytest.raises(UserError, match="'data' stands twice; put both into one") as caught:
        load_config(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_a_stage_reads_its_own_keys_and_the_machine_only():
    config = restrict(Config(), "resample")
    assert config.data.spacing_mm == Config().data.spacing_mm
    assert config.machine == Config().machine
    for read in (lambda: config.training, lambda: config.data.datasets, lambda: config.data.split):
        with pytest.raises(AttributeError):
            read()
    with pytest.raises(AttributeError):  # not the default sizes in the place of those that it may not read
        parse_config({"model": {"channels": 64}}, "").with_model("ddpm").model_copy(
            update={"model": restrict(Config(), "store").model}
        ).network("ddpm")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_keys_that_exist(stage):
    for key in (*STAGES[stage].reads, *STAGES[stage].selects):
        place = Config()
        for name in key.split("."):
            place = getattr(place, name)


def test_every_key_is_read_by_a_stage():
    """But for the place of all results, what `models` is filled with, and what one verb for a single scan reads."""
    read = {key for stage in STAGES.values() for key in stage.reads}
    others = {"output_dir", "ablation", "denoising.method"}
    for name, value in Config():
        for key in (f"{name}.{inner}" for inner, _ in value) if isinstance(value, Section) else (name,):
            assert name == "machine" or {name, key} & (read | others | CHOICES), key


CHOICES = {key for stage in STAGES.values() for key in stage.selects}


def test_a_stage_gets_what_it_may_read_of_a_checked_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("model: {patch_vox: 20}")
    with pytest.raises(UserError, match="patch_vox 20 is not a multiple of 8"):
        load_stage_config(file, "resample")
    file.write_text("{data: {spacing_mm: 2}, machine: {device: cpu}}")
    config = load_stage_config(file, "store")
    assert (config.data.spacing_mm, config.machine.device) == (2, "cpu")
    assert not hasattr(config.data, "datasets")


def test_which_cases_are_chosen_does_not_change_what_comes_out_of_one():
    before = Config()
    after = parse_config({"low_dose": {"scans": 50}, "machine": {"sampling_shards": 3}}, "")
    for stage in ("low_dose", "synthesize"):
        assert params_of(before, stage) != params_of(after, stage)
        assert settings_of(before, stage) == settings_of(after, stage)


def test_the_learning_rate_concerns_the_training_alone():
    before, after = Config(), parse_config({"training": {"learning_rate": 0.5}}, "")
    changed = {stage for stage in STAGES if params_of(before, stage) != params_of(after, stage)}
    assert changed == {"pretrain"}


def test_one_model_does_not_depend_on_the_other():
    before = Config()
    after = parse_config({"models": [{"name": "meddiff-fm"}, {"name": "ddpm", "position": "coordinates"}]}, "")

    def settings(config, model):
        return params_of(config.with_model(model), "pretrain")

    assert settings(before, "meddiff-fm") == settings(after, "meddiff-fm")
    assert settings(before, "ddpm") != settings(after, "ddpm")


def test_a_restricted_configuration_gives_the_same_parameters():
    config = Config()
    assert all(params_of(restrict(config, stage), stage) == params_of(config, stage) for stage in STAGES)


def test_a_training_takes_its_length_from_epochs_or_from_steps():
    paper = load_config(CONFIG_DIR / "paper.yaml").training
    assert (paper.samples_per_step, paper.steps_for(4838)) == (4, 181_425)
    assert paper.model_copy(update={"accumulation": 8}).steps_for(4838) == 90_713
    assert parse_config({"training": {"steps": 7}}, "").training.steps_for(4838) == 7


def test_the_full_ablation_of_the_paper_needs_one_key():
    tree = yaml.safe_load((CONFIG_DIR / "paper.yaml").read_text()) | {"ablation": "full"}
    assert [v.name for v in parse_config(tree, "").models] == ["meddiff-fm", "coordinates", "multi-level", "ddpm"]


def test_the_full_ablation_has_four_models_each_with_one_thing_more():
    config = parse_config({"ablation": "full"}, "")
    facts = [(v.position, v.levels.image > 0) for v in config.models]
    assert facts == [("embedding", True), ("coordinates", True), ("none", True), ("none", False)]
    assert parse_config(config.model_dump(mode="json"), "") == config
    assert [v.name for v in parse_config({}, "").models] == ["meddiff-fm", "ddpm"]


@pytest.mark.parametrize(
    ("given", "prediction", "recipe"),
    [
        ({}, "epsilon", ("ddpm", 1000, "trailing")),
        ({}, "v", ("dpm-solver++", 10, "log-snr")),
        ({}, "sample", ("dpm-solver++", 10, "log-snr")),
        ({"steps": 20}, "v", ("dpm-solver++", 20, "log-snr")),
        ({"solver": "dpm-solver++", "spacing": "trailing"}, "epsilon", ("dpm-solver++", 10, "trailing")),
        ({"solver": "ddim"}, "v", ("ddim", 10, "trailing")),
    ],
)
def test_how_a_model_is_sampled_depends_on_what_it_estimates(given, prediction, recipe):
    assert SamplingConfig(**given).recipe(prediction) == recipe


@pytest.mark.parametrize("solver", ["auto", "ddim"])
def test_a_solver_that_does_not_know_the_spacing_is_refused(solver):
    with pytest.raises(UserError, match=f"spacing log-snr with solver {solver}: set solver dpm-solver"):
        parse_config({"sampling": {"solver": solver, "spacing": "log-snr"}}, "")
