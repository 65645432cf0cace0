"""Fine-tuning: it begins where the pretrained model is, learns the target condition, and goes on after a stop."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from meddiff.config import DiffusionConfig, WindowsConfig, parse_config
from meddiff.config.stages import restrict
from meddiff.diffusion.schedule import Schedule
from meddiff.errors import TimeSliceEnded, UserError
from meddiff.machine.files import sha256
from meddiff.machine.shards import COLUMNS, DONE, Row, done_rows
from meddiff.machine.tsv import write_tsv
from meddiff.model.control_bundle import learned_slices, load_control, load_controlled
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.store.patches import LEVELS
from meddiff.store.record import Record, save_array, write_record
from meddiff.training.finetune import (
    Place,
    finetune,
    lesion_task,
    super_resolution_task,
    train_from_scratch,
)
from meddiff.training.monitor import Monitor
from meddiff.training.objective import Objective
from meddiff.volumes.hu import denormalise
from tests.conftest import SPACING_MM, make_record
from tests.training import SMALL

CONFIG = parse_config(
    {
        "machine": {"workers": 0, "validation_patches": 2},
        "training": {"batch_size": 2, "accumulation": 1, "bfloat16": False},
        "finetuning": {"steps": 3, "learning_rate": 0.01},
        "super_resolution": {"factor": 3},
    },
    "test",
)
LESIONS, THIN = restrict(CONFIG, "finetune_lesions"), restrict(CONFIG, "finetune_super_resolution")
CHEST = WindowsConfig().chest
FACTS = {
    "steps": 1,
    "samples_per_step": 1,
    "epochs": 1.0,
    "seed": 0,
    "validation": {},
    "regions_per_dataset": {},
    "anatomy_weights": "demo",
}


@pytest.fixture(scope="module")
def foundation(tmp_path_factory):
    """A foundation model with weights that are not zero anywhere."""
    folder = tmp_path_factory.mktemp("foundation")
    torch.manual_seed(0)
    network = UNet(SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    FoundationModel(network, DiffusionConfig(prediction="v"), "meddiff-fm", SPACING_MM, WindowsConfig()).save(
        folder, FACTS
    )
    return folder


def with_lesion(folder, seed, split, role="downstream"):
    record = make_record(folder, seed, split=split)
    lesion = np.zeros(record.meta.size_zyx, np.uint8)
    lesion[20:24, 18:22, 15:20] = 1
    meta = type(record.meta)(**{**vars(record.meta), "role": role})
    write_record(folder, meta, record.ct[:], record.anatomy[:], 16, lesion)
    return Row(folder.name, DONE, folder / "meta.json", "0", 0.0, "")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An index of three patients with lesions and of two regions of the pretraining."""
    folder = tmp_path_factory.mktemp("store")
    rows = [with_lesion(folder / split, seed, split) for seed, split in enumerate(("train", "val", "test"))]
    rows += [with_lesion(folder / f"pre-{split}", 7, split, "pretraining") for split in ("train", "val")]
    write_tsv([vars(row) for row in rows], list(vars(rows[0])), folder / "index.tsv")
    return [folder / "index.tsv"]


@pytest.fixture
def place(foundation, tmp_path):
    return Place(foundation, tmp_path / "runs", tmp_path / "out", float("inf"))


def lesions(store):
    return lesion_task(LESIONS, "phantom", store, 16)


def validations(place):
    (file,) = place.runs.glob("*/stats.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {row["step"]: row for row in rows if any(key.startswith("validation/") for key in row)}


def test_the_first_validation_is_the_loss_of_the_pretrained_model(store, foundation, place):
    task = lesions(store)
    finetune(task, LESIONS, place)
    model = FoundationModel.from_pretrained(foundation)

    class Pretrained(UNet):
        def encode_condition(self, anatomy, coordinates, target=None):
            return super().encode_condition(anatomy, coordinates)

    unet = Pretrained(SMALL)
    unet.load_state_dict(model.network.state_dict())
    monitor = Monitor(task.records.validation, 16, 2, 0, torch.device("cpu"), task.draw, ("patch",))
    expected = monitor.losses(Objective(unet, Schedule(1000), "v"))
    found = validations(place)
    assert found[0]["validation/chest/patch"] == pytest.approx(expected["chest/patch"], rel=1e-6)
    assert found[3] != found[0]


def test_lesions_are_learned_at_the_level_at_which_they_are_judged(store, foundation, place):
    """The tables draw and judge patches; a step on a whole region would teach nothing of them."""
    task = lesions(store)
    data = task.records.patches(30, task.levels, 16, LESIONS.seed, task.draw)
    assert {data[number].level for number in range(len(data))} == {LEVELS.index("patch")}
    finetune(task, LESIONS, place)
    assert {key for key in validations(place)[0] if key.startswith("validation/")} == {"validation/chest/patch"}


def test_the_bundle_is_the_foundation_under_control(store, foundation, place):
    finetune(lesions(store), LESIONS, place)
    model = load_controlled(place.out, foundation)
    before = FoundationModel.from_pretrained(foundation).network.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.unet.state_dict().items())
    assert any(tensor.any() for tensor in model.network.control.zero_middle.state_dict().values())
    training = json.loads((place.out / "config.json").read_text())["training"]
    assert (training["lesions"], training["lesions_larger_than_patch"]) == (5, 0)


def test_from_scratch_nothing_is_locked_and_nothing_is_pretrained(store, foundation, place):
    train_from_scratch(lesions(store), LESIONS, place)
    model = load_controlled(place.out, place.out / "foundation")
    before = FoundationModel.from_pretrained(foundation).network.state_dict()
    after = model.network.unet.state_dict()
    assert not any(torch.equal(before[name], tensor) for name, tensor in after.items() if tensor.is_floating_point())
    with pytest.raises(UserError, match="belongs to a foundation model with sha256"):
        load_controlled(place.out, foundation)


def test_a_stopped_fine_tuning_goes_on_bit_by_bit(store, foundation, place, tmp_path):
    finetune(lesions(store), LESIONS, place)
    parts = Place(foundation, tmp_path / "parts", tmp_path / "other", 0)
    for _ in range(LESIONS.finetuning.steps - 1):
        with pytest.raises(TimeSliceEnded, match="the same command goes on"):
            finetune(lesions(store), LESIONS, parts)
    finetune(lesions(store), LESIONS, parts)
    name = "control.safetensors"
    assert (place.out / name).read_bytes() == (parts.out / name).read_bytes()


def starting_from(start, **finetuning):
    """The configuration of a fine-tuning that begins with a bundle."""
    tree = CONFIG.model_dump(mode="json")
    tree["finetuning"] |= {"start_from": str(start), **finetuning}
    return restrict(parse_config(tree, "test"), "finetune_lesions")


def test_a_fine_tuning_goes_on_from_the_control_net_of_another(store, foundation, place, tmp_path):
    """Begun with one and hardly trained, it is that one; its card names what it began with."""
    finetune(lesions(store), LESIONS, place)
    hardly = starting_from(place.out, learning_rate=1e-30, steps=1)
    finetune(lesions(store), hardly, replace(place, out=tmp_path / "hardly"))
    first, second = (load_control(folder).state_dict() for folder in (place.out, tmp_path / "hardly"))
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())
    started_from = json.loads((tmp_path / "hardly" / "config.json").read_text())["training"]["started_from"]
    assert started_from == sha256(place.out / "control.safetensors")


def test_a_control_net_of_another_kind_is_nothing_to_go_on_from(store, foundation, place, tmp_path):
    finetune(super_resolution_task(THIN, store, []), THIN, replace(place, out=tmp_path / "super-resolution"))
    with pytest.raises(
        UserError, match=r"finetuning.start_from .*super-resolution: a model with factor 3 \(here None\)"
    ):
        finetune(lesions(store), starting_from(tmp_path / "super-resolution"), place)
    with pytest.raises(UserError, match=r"finetuning.start_from .*lesions: a model with .*channels 16 \(here 8\)"):
        finetune(lesions(store), starting_from("shipped"), place)
    with pytest.raises(UserError, match="nowhere: no ControlNet"):
        finetune(lesions(store), starting_from("nowhere"), place)


def test_super_resolution_learns_from_the_pretraining_regions_where_no_slices_are_measured(store, place):
    task = super_resolution_task(THIN, store, [])
    assert [record.id for record in task.records.training] == ["pre-train"]
    finetune(task, THIN, place)
    assert {key for key in validations(place)[0] if key.startswith("validation/")} == {"validation/chest/patch"}


def test_super_resolution_learns_from_measured_slices_where_there_are_some(store, place, tmp_path):
    """Of the datasets that have them, not of the pretraining, and what is learned decides the run."""
    slices = []
    for row in (row for row in done_rows(store) if row.id in ("train", "val")):
        record = Record(row.path.parent)
        save_array(record.ct[:] // 2, tmp_path / f"{row.id}.b2nd")  # no mean of thin slices
        slices.append(Row(row.id, DONE, tmp_path / f"{row.id}.b2nd", row.id, 0.0, ""))
    write_tsv([vars(row) for row in slices], COLUMNS, tmp_path / "measured.tsv")
    task = super_resolution_task(THIN, store, [tmp_path / "measured.tsv"])
    assert [record.id for record in task.records.training + task.records.validation] == ["train", "val"]
    sample = task.draw(task.records.training[0], "patch", 16, np.random.default_rng(0))
    drawn, target = (denormalise(x[0].numpy(), CHEST) for x in (sample.image, sample.target))
    inside = (drawn > CHEST.low_hu) & (sample.anatomy.numpy() > 0)
    assert inside.any()
    np.testing.assert_array_equal(target[inside], drawn[inside] // 2)
    other = [Row(**vars(row) | {"sha256": "other"}) for row in slices]
    write_tsv([vars(row) for row in other], COLUMNS, tmp_path / "other.tsv")
    assert super_resolution_task(THIN, store, [tmp_path / "other.tsv"]).records.digest != task.records.digest
    finetune(task, THIN, place)
    assert learned_slices(place.out) == "measured"


def test_a_lesion_dataset_of_one_patient_is_refused(store):
    with pytest.raises(UserError, match="nothing: 0 patients with lesions, and two are the least"):
        lesion_task(LESIONS, "nothing", store, 16)
