"""`meddiff synthesize`: a mask in, a CT on its grid out; and what it refuses, in one line."""

import errno
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.config import DiffusionConfig, MachineConfig, Region, RegionsConfig, SamplingConfig, WindowsConfig
from meddiff.diffusion.sampling import sample_levels
from meddiff.errors import UserError
from meddiff.machine.device import has_bfloat16
from meddiff.machine.shards import DONE, read_index
from meddiff.model.foundation import WEIGHTS, FoundationModel
from meddiff.model.info import window_flops
from meddiff.model.unet import UNet
from meddiff.stages.synthesize import synthesize_records
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.synthesis import synthesize as draw
from meddiff.tasks.synthesis import synthesize_mask
from meddiff.volumes import volumes
from meddiff.volumes.volumes import from_zyx, read_image, to_zyx, write_image
from tests.training import SMALL

SPACING_MM = 6.0
SAMPLING, MACHINE = {"steps": 4, "bfloat16": False}, {"device": "cpu", "save_every_steps": 1}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    network = UNet(SMALL)
    torch.nn.init.normal_(network.conv_out.weight, std=0.02)
    torch.nn.init.normal_(network.anatomy.weight, std=2)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    training = {
        "steps": 1,
        "samples_per_step": 1,
        "epochs": 1.0,
        "seed": 0,
        "run": "r",
        "anatomy_weights": "demo",
        "validation": {},
    }
    model = FoundationModel(network, DiffusionConfig(prediction="sample"), "tiny", SPACING_MM, WindowsConfig())
    model.save(folder, training | {"regions_per_dataset": {}})
    (folder / "sampling.yaml").write_text(yaml.safe_dump({"sampling": SAMPLING, "machine": MACHINE}))
    return folder


def save_mask(path, labels_zyx, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = from_zyx(labels_zyx, SPACING_MM, (10.0, -20.0, 30.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return image


def words_of(mask, bundle, out, *more, region="chest"):
    words = ["synthesize", "--anatomy", mask, "--region", region, "--out", out, "--model", bundle]
    return [*map(str, [*words, "--config", bundle / "sampling.yaml", *more])]


def program(words):
    command = [sys.executable, "-m", "meddiff", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])


def synthesize(*arguments, **more):
    """Run the verb in this process, which has imported what takes a program seconds."""
    return CliRunner().invoke(app, words_of(*arguments, **more))


@pytest.fixture(scope="module")
def drawn(bundle, labels_zyx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    mask = save_mask(folder / "mask.nii.gz", labels_zyx[50:70])
    return folder, mask, program(words_of(folder / "mask.nii.gz", bundle, folder / "ct.nii.gz"))


def test_a_ct_lies_where_its_mask_lies_and_holds_hu_of_the_window(drawn):
    folder, mask, done = drawn
    assert done.returncode == 0, done.stderr
    ct = read_image(folder / "ct.nii.gz")
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(ct, get)() == pytest.approx(getattr(mask, get)())
    hu = to_zyx(ct)
    assert hu.dtype == np.int16
    assert hu.min() >= -1400
    assert hu.max() <= 400
    assert hu.std() > 10
    assert [path.name for path in sorted(folder.iterdir())] == ["ct.nii.gz", "mask.nii.gz"]


def test_progress_has_a_bar_and_the_time_left(drawn):
    lines = [line for line in drawn[2].stderr.splitlines() if "tiny chest [" in line]
    assert "[#####               ] 1/4 steps" in lines[0]
    assert "[####################] 4/4 steps" in lines[-1]


def test_the_orientation_of_the_file_does_not_matter(drawn, bundle, labels_zyx, tmp_path):
    """A mask stored from left to right and from back to front gives the same CT, stored in the same way."""
    folder = drawn[0]
    save_mask(tmp_path / "ras.nii.gz", labels_zyx[50:70, ::-1, ::-1].copy(), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert synthesize(tmp_path / "ras.nii.gz", bundle, tmp_path / "ct.nii.gz").exit_code == 0
    turned = to_zyx(read_image(tmp_path / "ct.nii.gz"))[:, ::-1, ::-1]
    assert (turned == to_zyx(read_image(folder / "ct.nii.gz"))).all()


class FullDisk:
    """What writes an image, on a disk that is full at first."""

    def __init__(self):
        self.is_full = True

    def __call__(self, image, path):
        if self.is_full:
            self.is_full = False
            raise OSError(errno.ENOSPC, "No space left on device")
        write_image(image, path)


@pytest.mark.parametrize("of", ["mask", "record"])
def test_a_ct_that_could_not_be_written_is_not_drawn_anew(
    bundle, labels_zyx, record, tmp_path, monkeypatch, caplog, of
):
    sampler = Sampler(bundle, SamplingConfig(steps=2, overlap=0, bfloat16=False), MachineConfig(**MACHINE))

    def run(folder):
        if of == "record":
            return synthesize_records(sampler, [record], "settings", 0, folder / "index.tsv")
        mask = from_zyx(labels_zyx[50:70], SPACING_MM)
        return synthesize_mask(sampler, mask, Region.CHEST, RegionsConfig(), 0, folder / "ct.nii.gz")

    run(tmp_path / "whole")
    monkeypatch.setattr(volumes, "write_image", FullDisk())
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "broken")
    with caplog.at_level("INFO"):
        run(tmp_path / "broken")
    assert "resumed from step 1" in caplog.messages
    whole, broken = ({p.name: p.read_bytes() for p in (tmp_path / name).glob("*.*")} for name in ("whole", "broken"))
    (ct,) = (name for name in whole if name.endswith(".nii.gz"))
    assert broken.keys() == whole.keys()
    assert broken[ct] == whole[ct]


def test_another_seed_is_another_ct(drawn, bundle, tmp_path):
    synthesize(drawn[0] / "mask.nii.gz", bundle, tmp_path / "ct.nii.gz", "--seed", 1)
    assert (to_zyx(read_image(tmp_path / "ct.nii.gz")) != to_zyx(read_image(drawn[0] / "ct.nii.gz"))).mean() > 0.5


def refused(tmp_path, kind):
    labels = np.full((16, 16, 16), 5, np.uint8)
    path = tmp_path / "mask.nii.gz"
    if kind == "labels":
        labels[0, 0, 0] = 119
    save_mask(path, labels)
    if kind == "geometry":
        path = tmp_path / "mask.nrrd"
        path.write_bytes(b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 16 16 16\nencoding: raw\n\n" + labels.tobytes())
    return path


@pytest.mark.parametrize(
    ("kind", "region", "out", "words"),
    [
        ("geometry", "chest", "ct.nii.gz", "mask.nrrd: its header does not say how it lies"),
        ("labels", "chest", "ct.nii.gz", "mask.nii.gz: unknown labels 119"),
        ("good", "chest", "ct.nii.gz", "mask.nii.gz: no voxel has the label 118, the rest of the body"),
        ("good", "chest", "mask.nii.gz", "mask.nii.gz: it would replace"),
        ("good", "whole_body", "ct.nii.gz", "--region whole_body: models know han, chest, abdomen"),
        ("good", "chest", "ct.png", "ct.png: no name of a volume"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(bundle, tmp_path, kind, region, out, words):
    error = synthesize(refused(tmp_path, kind), bundle, tmp_path / out, region=region).exception
    assert isinstance(error, UserError)
    assert words in str(error)
    assert "\n" not in str(error)
    assert not list(tmp_path.glob("ct.*"))


def test_the_program_says_no_more_than_this_line(bundle, tmp_path):
    done = program(words_of(refused(tmp_path, "labels"), bundle, tmp_path / "ct.nii.gz"))
    assert done.returncode == 2
    assert "mask.nii.gz: unknown labels 119" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_cost_counts_windows_and_encodings(bundle, tmp_path):
    config = SamplingConfig(**SAMPLING)
    anatomy = np.full((16, 16, 40), 5, np.uint8)
    anatomy[:, :, 20:] = 0
    cost = {}
    for name, saving in {"plain": False, "saving": True}.items():
        machine = MachineConfig(device="cpu", cache_conditions=saving)
        sampler = Sampler(bundle, config.model_copy(update={"skip_air": saving}), machine)
        cost[name] = draw(sampler, anatomy, Region.CHEST, WindowsConfig().chest, 0, tmp_path / "ct.nii.gz")
    estimate, encoding = window_flops(SMALL)
    assert cost["plain"].tflop == pytest.approx(4 * 4 * (estimate + encoding) / 1e12)  # four steps, four windows
    assert cost["saving"].tflop == pytest.approx((4 * 2 * estimate + 2 * encoding) / 1e12)  # the body has two
    assert cost["plain"].borders_zyx == [[], [], [8, 16, 24, 32]]


@pytest.mark.parametrize(("region", "air_hu"), [(Region.HAN, -150), (Region.CHEST, -1000), (Region.ABDOMEN, -120)])
def test_windows_without_anatomy_are_the_regions_air(bundle, tmp_path, region, air_hu):
    anatomy = np.full((16, 16, 40), 5, np.uint8)
    anatomy[:, :, 12:] = 0
    sampler = Sampler(bundle, SamplingConfig(**SAMPLING), MachineConfig(**MACHINE))
    drawing = draw(sampler, anatomy, region, WindowsConfig().for_region(region), 0, tmp_path / "ct.nii.gz")
    assert (drawing.hu_zyx[:, :, 24:] == air_hu).all()


@pytest.mark.parametrize(("region", "air"), [(Region.HAN, -1), (Region.CHEST, -5 / 9), (Region.ABDOMEN, -1)])
def test_around_a_volume_smaller_than_a_window_is_the_regions_air(bundle, region, air):
    windows = Sampler(bundle, SamplingConfig(**SAMPLING), MachineConfig(**MACHINE)).windows(
        np.full((4, 16, 16), 5, np.uint8), region
    )
    padded = windows.padded(torch.zeros(4, 16, 16))
    assert padded[6:10].abs().max() == 0
    np.testing.assert_allclose(torch.cat([padded[:6], padded[10:]]), air, atol=1e-6)


@pytest.mark.parametrize("made_for_it", [True, False])
def test_integers_draw_nearly_what_bfloat16_draws(bundle, monkeypatch, made_for_it):
    monkeypatch.setattr("meddiff.tasks.sampler.has_int8", lambda kind: made_for_it)
    anatomy = np.full((16, 16, 16), 5, np.uint8)
    drawn = []
    for int8 in (False, True):
        config = SamplingConfig(**SAMPLING | {"bfloat16": True}, int8=int8)
        sampler = Sampler(bundle, config, MachineConfig(**MACHINE))
        drawn.append(sample_levels(sampler.levels(anatomy, Region.CHEST), 0))
    difference, spread = (drawn[1] - drawn[0]).abs().mean(), drawn[0].std()
    assert 0 < difference < 0.05 * spread if made_for_it and has_bfloat16("cpu") else difference == 0


def test_a_preview_is_coarse_and_says_so(drawn, bundle, tmp_path):
    folder, mask, _ = drawn
    done = synthesize(folder / "mask.nii.gz", bundle, tmp_path / "ct.nii.gz", "--preview")
    assert done.exit_code == 0, done.output
    preview = sitk.ReadImage(str(tmp_path / "ct.nii.gz"))
    assert preview.GetSize() == mask.GetSize()
    assert re.fullmatch(
        r"preview, drawn with voxels of [\d.]+ x [\d.]+ x [\d.]+ mm", preview.GetMetaData("ITK_FileNotes")
    )
    fine, coarse = (
        np.abs(np.diff(to_zyx(image), axis=2)).mean() for image in (read_image(folder / "ct.nii.gz"), preview)
    )
    assert coarse < 0.8 * fine
    assert not read_image(folder / "ct.nii.gz").HasMetaDataKey("ITK_FileNotes")


def test_a_mask_is_cut_as_the_store_cuts_and_around_it_is_air(bundle, labels_zyx, tmp_path):
    """In training coordinates go from edge to edge of the body and its margin, whatever the field of view."""
    sampler, window, margin = (
        Sampler(bundle, SamplingConfig(**SAMPLING), MachineConfig(**MACHINE)),
        WindowsConfig().chest,
        3,
    )
    wide_zyx = np.pad(labels_zyx[20:40], ((0, 0), (30, 5), (9, 40)))
    rows, columns = (np.flatnonzero((wide_zyx == 118).any(axes)) for axes in ((0, 2), (0, 1)))
    y, x = (slice(each[0] - margin, each[-1] + 1 + margin) for each in (rows, columns))
    expected = draw(sampler, wide_zyx[:, y, x], Region.CHEST, window, 0, tmp_path / "ct.nii.gz").hu_zyx
    mask = from_zyx(wide_zyx, SPACING_MM)
    regions = RegionsConfig(margin_mm=margin * SPACING_MM)
    found = to_zyx(synthesize_mask(sampler, mask, Region.CHEST, regions, 0))
    np.testing.assert_array_equal(found[:, y, x], expected)
    found[:, y, x] = -1000
    assert (found == -1000).all()


def test_a_model_that_is_written_again_as_it_was_draws_nothing_anew(bundle, record, tmp_path, monkeypatch):
    """Snakemake lets a training that is done write its bundle again whenever the store's index changed."""
    model = shutil.copytree(bundle, tmp_path / "model")

    def draw_all(**machine):
        quick = SamplingConfig(steps=1, overlap=0, bfloat16=False)
        sampler = Sampler(model, quick, MachineConfig(**MACHINE | machine))
        synthesize_records(sampler, [record], "settings", 0, tmp_path / "out" / "index.tsv")
        (row,) = read_index(tmp_path / "out" / "index.tsv")
        return row.status, row.path.stat().st_mtime_ns

    first = draw_all()
    assert first[0] == DONE
    (model / WEIGHTS).touch()
    assert draw_all(windows_per_batch=3, memory_gb=1) == first
    weights = load_file(model / WEIGHTS)
    save_file({name: tensor / 2 for name, tensor in weights.items()}, model / WEIGHTS)
    assert draw_all() != first
