"""`MedDiffFM`: images, arrays and files give the same voxels, in kind; a task can be watched and stopped."""

import doctest
import json
import threading

import matplotlib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

import meddiff
import meddiff.api.model
from meddiff import DrawnLesion, MedDiffFM, Voxels
from meddiff.cli.main import app
from meddiff.config import (
    AnatomyConfig,
    Config,
    DiffusionConfig,
    LesionsConfig,
    SamplingConfig,
    SuperResolutionConfig,
    WindowsConfig,
)
from meddiff.errors import UserError
from meddiff.model.control_bundle import save_control
from meddiff.model.controlnet import ControlNet
from meddiff.model.foundation import FoundationModel
from meddiff.model.unet import UNet
from meddiff.volumes.volumes import from_zyx, write_image
from tests.phantom_run import ROOT
from tests.training import SMALL

SPACING_MM = 6.0
TRAINING = {"steps": 1, "samples_per_step": 1, "epochs": 1.0, "seed": 0, "run": "r", "anatomy_weights": "demo"}
FACTS = TRAINING | {"validation": {}, "regions_per_dataset": {}}
QUICK = Config(
    anatomy=AnatomyConfig(weights="demo", resolution="fastest"),
    sampling=SamplingConfig(steps=1, solver="ddim", overlap=0, bfloat16=False),
    lesions=LesionsConfig(inpainting_steps=2, jump_length=1, resampling=1),
    super_resolution=SuperResolutionConfig(steps=2),
)
HU = np.zeros((9, 9, 9), np.int16)
KINDS = ("file", "image", "array")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, its ControlNets, and a chest of flat tissue and lungs with noise, with its anatomy."""
    folder = tmp_path_factory.mktemp("api")
    torch.manual_seed(0)
    FoundationModel(UNet(SMALL), DiffusionConfig(), "tiny", SPACING_MM, WindowsConfig()).save(folder / "model", FACTS)
    for name, more in {"lesions": {}, "thin": {"factor": 2}}.items():
        control = ControlNet.from_unet(FoundationModel.from_pretrained(folder / "model").network)
        save_control(control, folder / "model", name, FACTS | more, folder / name)
    labels = np.zeros((16, 32, 32), np.uint8)
    labels[:, 4:-4, 4:-4] = 118
    labels[:, 10:20, 8:16] = 10
    hu = np.select([labels == 10, labels > 0], [-850.0, 45.0], -1000.0)
    hu += 12 * np.random.default_rng(0).normal(size=hu.shape)
    write_image(from_zyx(hu.round().astype(np.int16), SPACING_MM), folder / "ct.nii.gz")
    write_image(from_zyx(labels, SPACING_MM), folder / "anatomy.nii.gz")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    bundles = {"lesions": folder / "lesions", "super_resolution": folder / "thin"}
    return MedDiffFM.from_pretrained(folder / "model", **bundles, config=QUICK, progress=lambda *_: None)


def given(folder, name, kind):
    path = folder / f"{name}.nii.gz"
    if kind == "file":
        return path
    image = sitk.ReadImage(str(path))
    return image if kind == "image" else Voxels(sitk.GetArrayFromImage(image), (SPACING_MM,) * 3)


def values(result):
    return result.values_zyx if isinstance(result, Voxels) else sitk.GetArrayFromImage(result)


TASKS = {
    "denoise": lambda m, ct, anatomy: m.denoise(ct, "chest", anatomy),
    "detect": lambda m, ct, anatomy: m.detect(ct, "lung", anatomy),
    "synthesize": lambda m, _, anatomy: m.synthesize(anatomy, "chest"),
    "inpaint": lambda m, ct, anatomy: m.inpaint(ct, "chest", DrawnLesion("lung", 18.0), anatomy)[0],
    "generate_lesion": lambda m, _, anatomy: m.generate_lesion(anatomy, "chest", DrawnLesion("lung", 18.0), True)[0],
}


@pytest.mark.parametrize("task", TASKS)
def test_files_images_and_arrays_give_the_same_voxels_each_in_its_kind(folder, model, task):
    made = [TASKS[task](model, *(given(folder, name, kind) for name in ("ct", "anatomy"))) for kind in KINDS]
    assert [type(each) for each in made] == [sitk.Image, sitk.Image, Voxels]
    for other in made[1:]:
        np.testing.assert_array_equal(values(made[0]), values(other))
    assert made[1].GetSpacing() == (SPACING_MM,) * 3
    assert made[2].spacing_zyx_mm == (SPACING_MM,) * 3


def test_super_resolution_doubles_the_slices(folder, model):
    thick = Voxels(values(given(folder, "ct", "image"))[::2], (2 * SPACING_MM, SPACING_MM, SPACING_MM))
    labels = Voxels(values(given(folder, "anatomy", "image"))[::2], (2 * SPACING_MM, SPACING_MM, SPACING_MM))
    assert model.super_resolve(thick, "chest", labels).spacing_zyx_mm == (SPACING_MM,) * 3


def test_where_a_ct_will_be_written_is_a_path_or_its_name(folder, model, tmp_path):
    places = None, tmp_path / "ct.nii.gz", f"{tmp_path}/ct.nii.gz"
    first, *others = (values(model.synthesize(folder / "anatomy.nii.gz", "chest", out=out)) for out in places)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_an_image_that_lies_anywhere_comes_back_where_it_was(folder, model):
    images = [sitk.DICOMOrient(given(folder, name, "image"), "RIP") for name in ("ct", "anatomy")]
    for image in images:
        image.SetOrigin((1 / 3, -2e3 / 7, 0.1))
    clean = model.denoise(images[0], "chest", images[1])
    assert clean.GetOrigin() == images[0].GetOrigin()
    assert clean.GetDirection() == images[0].GetDirection()


def test_what_the_watcher_raises_stops_a_task_and_the_next_is_as_if_nothing_had_been(folder, model):
    files = [folder / "ct.nii.gz", "chest", folder / "anatomy.nii.gz"]
    before = model.denoise(*files)

    def stop(name, done, total):
        assert (name, done <= total) == ("denoise", True)
        raise KeyboardInterrupt

    model.progress = stop
    with pytest.raises(KeyboardInterrupt):
        model.denoise(*files)
    model.progress = lambda *_: None
    np.testing.assert_array_equal(values(model.denoise(*files)), values(before))


def test_threads_share_a_model(folder, model):
    files, found = [folder / "ct.nii.gz", "lung", folder / "anatomy.nii.gz"], {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: values(model.detect(*files))})) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], values(model.detect(*files)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"region": "whole_body"}, "region whole_body: give one of han, chest, abdomen"),
        ({"ct": Voxels(np.zeros((4, 4)), (1.0, 1.0))}, "give three axes"),
        ({"ct": Voxels(HU, (0, 4, 4))}, r"the spacing \(0, 4, 4\): give a number of mm above 0"),
        ({"ct": Voxels(HU, (-4, 4, 4))}, r"the spacing \(-4, 4, 4\): give"),
        ({"ct": Voxels(HU, (np.nan, 4, 4))}, r"the spacing \(nan, 4, 4\): give"),
        ({"ct": Voxels(HU, (4, 4))}, r"the spacing \(4, 4\): give"),
        ({"ct": Voxels(HU, (4, 4, 4), (0, 0))}, r"the origin \(0, 0\): give a number of mm for each of x, y and z"),
        ({"ct": Voxels(HU, (4, 4, 4), (0, 0, np.inf))}, r"the origin \(0, 0, inf\): give"),
        ({"ct": Voxels(HU.astype(object), (4, 4, 4))}, "an array of object: give whole numbers or floating-point ones"),
        ({"ct": Voxels(HU.astype(np.longdouble), (4, 4, 4))}, "an array of float128: .* of 64 bits at most"),
        ({"ct": Voxels(HU[:0], (4, 4, 4))}, r"an array of shape \(0, 9, 9\): give three axes"),
        ({"seed": -1}, "seed -1: give a whole number from 0 to 9223372036854775807"),
        ({"seed": 2**64}, f"seed {2**64}: give a whole number"),
        ({"ct": Voxels(np.full((9, 9, 9), 7), (9.0,) * 3)}, "cannot be CT in HU"),
        (
            {"anatomy": Voxels(np.full((9, 9, 9), 250, np.uint8), (9.0,) * 3)},
            "with the mask anatomy.nrrd: unknown labels",
        ),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(folder, model, change, words):
    arguments = {"ct": folder / "ct.nii.gz", "region": "chest", "anatomy": folder / "anatomy.nii.gz"} | change
    with pytest.raises(UserError, match=words) as caught:
        model.denoise(**arguments)
    assert "\n" not in str(caught.value)


def test_a_scan_without_the_organ_is_refused(folder, model, monkeypatch):
    with pytest.raises(UserError, match="no liver in what was taken for the abdomen"):
        model.detect(folder / "ct.nii.gz", "liver", folder / "anatomy.nii.gz")
    monkeypatch.setattr(model, "anyway", True)
    with pytest.raises(UserError, match="the scan shows no liver: 0 ml"):
        model.detect(folder / "ct.nii.gz", "liver", folder / "anatomy.nii.gz")


def test_a_device_that_nobody_knows_is_refused(folder):
    with pytest.raises(UserError, match=r"machine.*device"):
        MedDiffFM.from_pretrained(folder / "model", device="tpu")


def test_a_controlnet_of_the_other_kind_is_refused(folder):
    other = MedDiffFM.from_pretrained(folder / "model", lesions=folder / "thin", config=QUICK)
    with pytest.raises(UserError, match="a ControlNet for super-resolution; give one for lesions"):
        other.inpaint(folder / "ct.nii.gz", "chest", DrawnLesion("lung"), folder / "anatomy.nii.gz")


def test_the_examples_of_the_documentation_run(folder, model, monkeypatch):
    monkeypatch.chdir(folder)
    known = {"MedDiffFM": MedDiffFM, "Voxels": Voxels, "DrawnLesion": DrawnLesion}
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(recurse=True)
    monkeypatch.setattr(MedDiffFM, "from_pretrained", lambda *_, **__: model)
    for module in (meddiff.api, meddiff.api.model):
        for test in finder.find(module, globs=known):
            runner.run(test, clear_globs=False)
            known |= test.globs
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 5


def test_the_notebook_of_the_documentation_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    matplotlib.use("Agg")
    names: dict = {}
    for cell in json.loads((ROOT / "docs" / "python.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102
    assert {"denoise", "anomaly map"} <= {task for task, _, _ in names["told"]}
    assert not np.array_equal(*map(sitk.GetArrayFromImage, names["drawn"]))
    assert sitk.GetArrayFromImage(names["lesion"]).any()


def test_the_command_line_gives_the_same_voxels(folder, monkeypatch):
    """Of a folder, too."""
    monkeypatch.chdir(folder)
    for name in ("ct", "anatomy"):
        (folder / f"{name}s").mkdir()
        (folder / f"{name}s/one.nii.gz").symlink_to(folder / f"{name}.nii.gz")
    options = ["--region", "chest", "--model", "model", "--seed", "3"]
    for scan, anatomy, out in (("ct.nii.gz", "anatomy.nii.gz", "out.nii.gz"), ("cts", "anatomys", "outs")):
        done = CliRunner().invoke(app, ["denoise", scan, "-o", out, "--anatomy", anatomy, *options])
        assert done.exit_code == 0, done.output
    expected = MedDiffFM.from_pretrained("model").denoise("ct.nii.gz", "chest", "anatomy.nii.gz", seed=3)
    for out in ("out.nii.gz", "outs/one.nii.gz"):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(out)), values(expected))
