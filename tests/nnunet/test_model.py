"""nnU-Net for lesions: it learns, it goes on, it keeps what is done, and its maps lie where the images lie."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from meddiff.config import NnUNetConfig
from meddiff.demo.phantom import add_lesion, add_low_dose_noise, make_phantom
from meddiff.errors import UserError
from meddiff.machine.files import read_json, write_json
from meddiff.metrics.overlap import dice
from meddiff.nnunet.experiment import Experiment
from meddiff.nnunet.model import NnUNet
from meddiff.nnunet.prepare import add_small
from meddiff.volumes import volumes

REPOSITORY = Path(__file__).parents[2]
SHORT = NnUNetConfig(epochs=4, iterations=30, small=True)
SIDES = ("left", "right")
ORIGIN_MM = (-200.0, -150.0, 290.0)
# Lesions are 1 voxel in 1,600; labels at random would have a Dice near 0.001, those of one lung about 0.02.
LEAST_DICE = 0.4


def chest_with_lesion(seed: int, spacing_xyz_mm: tuple[float, float, float]) -> tuple[str, sitk.Image, sitk.Image]:
    """A chest with a soft lesion in an upper lobe; all axes differ in spacing and size."""
    organ = f"lung_upper_lobe_{SIDES[seed % 2]}"
    phantom, lesion_zyx = add_lesion(make_phantom(seed, 5.0, "chest"), organ, 18.0, 40.0, seed)
    ct_zyx = add_low_dose_noise(phantom, 20.0, seed).ct_zyx
    ct, labels = (volumes.from_zyx(array, 5.0, ORIGIN_MM) for array in (ct_zyx, lesion_zyx.astype(np.uint8)))
    size = [round(n * 5.0 / spacing) for n, spacing in zip(ct.GetSize(), spacing_xyz_mm, strict=True)]

    def resample(image: sitk.Image, interpolator: int, outside: int) -> sitk.Image:
        grid = (ORIGIN_MM, spacing_xyz_mm, ct.GetDirection())
        return sitk.Resample(image, size, sitk.Transform(), interpolator, *grid, outside)

    return f"chest-{seed}", resample(ct, sitk.sitkLinear, -1024), resample(labels, sitk.sitkNearestNeighbor, 0)


def train(folder: Path) -> NnUNet:
    """Train on four chests whose x axis is the coarsest, so that nnU-Net turns the axes around."""
    model = NnUNet(folder, SHORT, "cpu")
    model.train(chest_with_lesion(seed, (6.0, 4.0, 5.0)) for seed in range(4))
    return model


def kill_in_the_middle(folder: Path) -> None:
    """Start the same training in a process of its own and kill it after its first checkpoint."""
    code = f"from pathlib import Path; from {__name__} import train; train(Path({str(folder)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, start_new_session=True)
    try:
        while not any(zipfile.is_zipfile(path) for path in folder.rglob("checkpoint_latest.pth")):
            assert process.poll() is None, "the training ended before it could be killed"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> NnUNet:
    folder = tmp_path_factory.mktemp("nnunet")
    kill_in_the_middle(folder)
    return train(folder)


@pytest.fixture(scope="module")
def unseen() -> dict[str, tuple[sitk.Image, sitk.Image]]:
    cases = [chest_with_lesion(seed, (6.5, 4.5, 4.0)) for seed in (50, 51)]
    return {case_id: (ct, labels) for case_id, ct, labels in cases}


@pytest.fixture(scope="module")
def predicted(trained, unseen, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("predicted")
    trained.predict({case_id: ct for case_id, (ct, _) in unseen.items()}, out, probability=True)
    return out


@pytest.mark.slow
def test_a_killed_training_goes_on(trained):
    first, second = sorted(trained.folder.rglob("training_log_*.txt"), key=lambda path: path.stat().st_mtime)
    epochs = [re.findall(r"Epoch (\d+) *$", path.read_text(), re.MULTILINE) for path in (first, second)]
    assert epochs[0][:2] == ["0", "1"]
    assert epochs[1] == ["2", "3"]


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "whole", ignore=shutil.ignore_patterns("results"))
    other = train(tmp_path / "whole")  # out of the same prepared data, from its first step
    (killed,), (whole,) = (sorted(n.folder.rglob("checkpoint_final.pth")) for n in (trained, other))
    weights, expected = (torch.load(path, weights_only=False)["network_weights"] for path in (killed, whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_a_finished_training_is_not_repeated(trained):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*") if path.name != "lock"}

    before = stamps()
    train(trained.folder)
    assert stamps() == before


@pytest.mark.slow
def test_lesions_of_unseen_bodies_are_found(predicted, unseen):
    scores = []
    for case_id, (_, labels) in unseen.items():
        found = volumes.read_image(predicted / f"{case_id}.nii.gz")
        assert found.GetPixelID() == sitk.sitkUInt8
        assert found.GetSize() == labels.GetSize()
        np.testing.assert_allclose(found.GetSpacing(), labels.GetSpacing(), atol=1e-5)
        np.testing.assert_allclose(found.GetOrigin(), labels.GetOrigin(), atol=1e-4)
        scores.append(dice(volumes.to_zyx(found) > 0, volumes.to_zyx(labels) > 0))
    assert np.mean(scores) > LEAST_DICE, scores


@pytest.mark.slow
def test_the_probability_is_above_one_half_where_the_label_map_has_a_lesion(predicted, unseen):
    for case_id in unseen:
        labels_zyx = volumes.to_zyx(volumes.read_image(predicted / f"{case_id}.nii.gz"))
        score_zyx = volumes.to_zyx(volumes.read_image(predicted / f"{case_id}_probability.nii.gz"))
        assert score_zyx.dtype == np.float32
        assert labels_zyx.any()
        np.testing.assert_array_equal(score_zyx > 0.5, labels_zyx > 0)


@pytest.fixture
def commands(monkeypatch) -> list[tuple[str, ...]]:
    """The programs that would have been run, with a name each; files as nnU-Net's stand for their results."""
    calls: list[tuple[str, ...]] = []

    def run(experiment: Experiment, name: str, *command: str, **_: object) -> None:
        calls.append((name, *command))
        if name == "prepare":
            plan = {"configurations": {"3d_fullres": {"architecture": {"arch_kwargs": {}}}}}
            plans_file = experiment.folder / "preprocessed" / experiment.dataset / "nnUNetPlans.json"
            write_json(plan, plans_file)
            if small := json.loads(command[-1]):
                add_small(plans_file, **small)
        if name == "train":
            experiment.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(experiment.checkpoint, "w") as file:
                file.writestr("weights", str(len(calls)))
        if name == "predict":
            source, target = (Path(command[command.index(flag) + 1]) for flag in ("-i", "-o"))
            for path in source.iterdir():
                image = volumes.read_image(path)
                case_id = path.name.removesuffix("_0000.nii.gz")
                volumes.write_image(image * 0, target / f"{case_id}.nii.gz")
                zyx = image.GetSize()[::-1]
                np.savez(target / f"{case_id}.npz", probabilities=np.stack([np.full(zyx, 0.75), np.full(zyx, 0.25)]))

    monkeypatch.setattr(Experiment, "_run", run)
    return calls


def tiny(case_id: str, value: int = 0, labels: int = 1) -> tuple[str, sitk.Image, sitk.Image]:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4) + value
    label_map = np.clip(np.arange(24).reshape(2, 3, 4) - 20, 0, labels).astype(np.uint8)
    return case_id, volumes.from_zyx(voxels, 2.0), volumes.from_zyx(label_map, 2.0)


def test_other_cases_or_settings_are_trained_anew(commands, tmp_path):
    def train_commands(*cases: tuple, config: NnUNetConfig = SHORT) -> list[str]:
        commands.clear()
        NnUNet(tmp_path, config, "cpu").train(iter(cases))
        return [name for name, *_ in commands]

    everything = train_commands(tiny("a"), tiny("b"))
    assert everything == ["prepare", "train"]
    assert train_commands(tiny("a"), tiny("b")) == []
    assert train_commands(tiny("a"), tiny("b", value=1)) == everything
    assert train_commands(tiny("a"), tiny("b", value=1, labels=2)) == everything
    assert train_commands(tiny("a"), tiny("c")) == everything
    raw = tmp_path / "raw" / "Dataset001_Lesion"
    assert sorted(path.name for path in raw.glob("*Tr/*")) == sorted(
        ["a_0000.nii.gz", "c_0000.nii.gz", "a.nii.gz", "c.nii.gz"]
    )
    assert train_commands(tiny("a"), tiny("c"), config=SHORT.model_copy(update={"epochs": 5})) == everything


def test_a_checkpoint_that_was_not_written_to_its_end_is_dropped(commands, tmp_path):
    model = NnUNet(tmp_path, SHORT, "cpu")
    model.train([tiny("a")])
    (checkpoint,) = tmp_path.rglob("checkpoint_final.pth")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    commands.clear()
    with pytest.raises(UserError, match="train it first"):
        model.predict({}, tmp_path / "out")
    model.train([tiny("a")])
    assert [name for name, *_ in commands] == ["train"]


@pytest.mark.parametrize(
    ("config", "trainer", "configuration"),
    [
        (NnUNetConfig(), "nnUNetTrainer", "3d_fullres"),
        (NnUNetConfig(epochs=10), "LengthTrainer", "3d_fullres"),
        (SHORT, "ShortTrainer", "3d_small"),
    ],
)
def test_the_defaults_are_nnunets_own_trainer_and_plan(commands, tmp_path, config, trainer, configuration):
    NnUNet(tmp_path, config, "cuda").train([tiny("a", labels=2)])
    _, program, *arguments = commands[-1]
    assert program == str(Path(sys.executable).with_name("nnUNetv2_train"))
    assert arguments == f"1 {configuration} all -tr {trainer} -device cuda --c".split()
    plans = read_json(tmp_path / "preprocessed" / "Dataset001_Lesion" / "nnUNetPlans.json")
    assert set(plans["configurations"]) == {"3d_fullres", configuration}
    dataset = read_json(tmp_path / "raw" / "Dataset001_Lesion" / "dataset.json")
    assert dataset["labels"] == {"background": 0, "lesion_1": 1, "lesion_2": 2}


def test_only_what_is_new_is_predicted(commands, tmp_path):
    model, out = NnUNet(tmp_path / "model", SHORT, "cpu"), tmp_path / "out"
    images = {case_id: tiny(case_id)[1] for case_id in ("a", "b")}

    def predicted(probability: bool = False) -> list[str]:
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
        model.predict(images, out, probability)
        return sorted(p.name for p in out.glob("*.nii.gz") if p.stat().st_mtime_ns != before.get(p))

    model.train([tiny("a")])
    assert predicted() == ["a.nii.gz", "b.nii.gz"]
    assert predicted() == []
    (out / "b.nii.gz").unlink()
    images["a"] = tiny("a", value=1)[1]
    images["c"] = tiny("c")[1]
    assert predicted() == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    images.pop("c")
    assert predicted(probability=True) == ["a.nii.gz", "a_probability.nii.gz", "b.nii.gz", "b_probability.nii.gz"]
    assert np.all(volumes.to_zyx(volumes.read_image(out / "a_probability.nii.gz")) == 0.25)
    model.train([tiny("a", value=2)])
    assert predicted() == ["a.nii.gz", "b.nii.gz"]
    assert not list(out.glob(".nnunet-*"))


@pytest.mark.parametrize("case_id", ["../a", "a b", "", "a;b", "ä", "a\n"])
def test_an_unsafe_id_is_refused_in_one_line(commands, tmp_path, case_id):
    model = NnUNet(tmp_path, SHORT, "cpu")
    with pytest.raises(UserError, match="case id") as caught:
        model.train([tiny(case_id)])
    assert "\n" not in str(caught.value)
    assert commands == []
    model.train([tiny("a")])
    with pytest.raises(UserError, match="case id"):
        model.predict({case_id: tiny("a")[1]}, tmp_path / "out")


@pytest.mark.parametrize(
    ("cases", "words"),
    [([], "0 cases"), ([tiny("a", labels=0)], "has a lesion"), ([tiny("a"), tiny("a")], "twice")],
)
def test_unusable_cases_are_refused(commands, tmp_path, cases, words):
    with pytest.raises(UserError, match=words):
        NnUNet(tmp_path, SHORT, "cpu").train(cases)
    assert commands == []


def test_a_failing_command_is_one_line_that_names_its_log(monkeypatch, tmp_path, capsys):
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "arguments: $*, raw: $nnUNet_raw"\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    environment = dict(os.environ)
    with pytest.raises(UserError, match="nnU-Net's prepare failed with exit code 3") as caught:
        NnUNet(tmp_path / "model", SHORT, "cpu").train([tiny("a")])
    log = tmp_path / "model" / "logs" / "prepare.log"
    assert str(caught.value).endswith(str(log))
    assert f"raw: {tmp_path / 'model' / 'raw'}" in log.read_text()
    assert log.read_text() == capsys.readouterr().out
    assert os.environ == environment
