"""The models of the package: found by name, checked, the default of the verbs; without any, one line says so."""

import socket
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from meddiff import weights
from meddiff.anatomy.labels import CLASS_IDS
from meddiff.cli.main import app
from meddiff.errors import UserError
from meddiff.model.packing import pack
from meddiff.volumes import volumes
from meddiff.weights import shipped_bundle, shipped_control, shipped_names
from tests.weights.bundles import SPACING_MM, write_control, write_model

ROOT = Path(__file__).parents[2]
LUNG = CLASS_IDS["lung_upper_lobe_left"]
VERBS = {
    "denoise": ["denoise", "ct.nii.gz", "--out=out.nii.gz", "--region=chest", "--method=one-step", "--noise-hu=20"],
    "detect": ["detect", "ct.nii.gz", "--out=out.nii.gz", "--organ=lung"],
    "synthesize": ["synthesize", "--anatomy=anatomy.nii.gz", "--region=chest", "--out=out.nii.gz"],
    "superres": ["superres", "ct.nii.gz", "--out=out.nii.gz", "--region=chest"],
    "lesion": ["lesion", "inpaint", "ct.nii.gz", "--region=chest", "--organ=lung", "--out=out.nii.gz"],
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    model = write_model(folder / "model")
    bundles = {
        "meddiff-fm": model,
        "super-resolution": write_control(folder / "thin", model, factor=2),
        "lesions": write_control(folder / "lesions", model),
    }
    pack(bundles, folder / "packed")
    return folder / "packed"


@pytest.fixture
def shipped(packed, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", packed)
    return packed


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """An installation without weights, in an empty folder."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "no-weights")
    monkeypatch.chdir(tmp_path)


def test_shipped_models_are_found_by_name(shipped):
    assert shipped_names() == ["lesions", "meddiff-fm", "super-resolution"]
    assert shipped_bundle("lesions") == shipped / "lesions"
    with pytest.raises(UserError, match=r"ddpm: no model of this name .*\(it has lesions, meddiff-fm"):
        shipped_bundle("ddpm")


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_a_file_that_is_not_the_packed_one_is_refused(tmp_path, packed, monkeypatch, name):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    pack({"meddiff-fm": write_model(tmp_path / "model")}, tmp_path)
    path = tmp_path / "meddiff-fm" / name
    content = path.read_bytes()
    for damage in (lambda: path.write_bytes(content[:-1] + b"x"), path.unlink):
        path.write_bytes(content)
        assert shipped_bundle("meddiff-fm")
        damage()
        with pytest.raises(UserError, match=f"{name}: not the file that came with the package; install it again"):
            shipped_bundle("meddiff-fm")


@pytest.mark.parametrize("verb", VERBS)
def test_without_weights_a_verb_says_in_one_line_what_to_do(verb, nothing):
    Path("ct.nii.gz").touch()
    error = CliRunner().invoke(app, VERBS[verb]).exception
    assert isinstance(error, UserError)
    assert "(it has none); install it again, or give a folder, with --model and --control" in str(error)
    assert "\n" not in str(error)


def test_the_control_nets_of_the_package_are_for_its_own_model(shipped, tmp_path):
    for name, argument in (("lesions", "lesions"), ("super-resolution", "super_resolution")):
        assert shipped_control(name, shipped / "meddiff-fm") == shipped / name
        with pytest.raises(UserError, match=rf"not the package's own .* {name} .* --control .*\({argument}=") as told:
            shipped_control(name, tmp_path)
        assert "\n" not in str(told.value)


def test_a_package_below_a_symbolic_link_knows_its_own_model(shipped, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(shipped)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "link")
    assert shipped_control("lesions", shipped_bundle("meddiff-fm")) == tmp_path / "link/lesions"


class Segmenter:
    """In the place of TotalSegmentator: lungs are what is dark. It notes which weights it is to take."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, config, *_):
        self.asked.append((config.weights, config.resolution))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def segment(self, image):
        return np.where(volumes.to_zyx(image) < -400, np.uint8(LUNG), np.uint8(0))


@pytest.mark.parametrize("verb", ["denoise", "detect", pytest.param("synthesize", marks=pytest.mark.slow)])
def test_a_verb_works_with_the_shipped_weights_alone_and_without_network(verb, shipped, tmp_path, monkeypatch):
    """The anatomy is that of the weights which the model was trained with, though no configuration is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("meddiff.tasks.scan.Segmenter", Segmenter)
    monkeypatch.setattr(Segmenter, "asked", [])
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("network"))
    labels = np.zeros((20, 24, 24), np.uint8)
    labels[:, 2:-2, 2:-2] = 118
    labels[2:-2, 7:-7, 7:-7] = LUNG
    hu = np.select([labels == LUNG, labels > 0], [-850, 40], -1000).astype(np.int16)
    for name, values in (("ct", hu), ("anatomy", labels)):
        volumes.write_image(volumes.from_zyx(values, SPACING_MM), Path(f"{name}.nii.gz"))
    done = CliRunner().invoke(app, VERBS[verb], catch_exceptions=False)
    assert done.exit_code == 0
    assert Path("out.nii.gz").exists()
    assert Segmenter.asked == ([] if verb == "synthesize" else [("demo", "fastest")])


@pytest.mark.parametrize(("verb", "control"), [("superres", "super-resolution"), ("lesion", "lesions")])
def test_a_verb_with_a_control_net_takes_the_shipped_one(verb, control, shipped, monkeypatch):
    class LoadedError(Exception):
        pass

    def load(*arguments):
        raise LoadedError(*arguments)

    monkeypatch.setattr("meddiff.api.model.Sampler", load)
    bundle, *_, folder = CliRunner().invoke(app, VERBS[verb]).exception.args
    assert (bundle, folder) == (shipped / "meddiff-fm", shipped / control)


def test_the_package_is_built_with_the_weights(packed):
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = [str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()]
    assert len(files) == 10
    assert all(any(fnmatch(file, pattern) for pattern in data["meddiff.weights"]) for file in files)


def test_bundles_are_packed_by_a_verb(tmp_path, monkeypatch):
    model = write_model(tmp_path / "model")
    done = CliRunner().invoke(app, ["model", "pack", f"meddiff-fm={model}", f"--out={tmp_path / 'packed'}"])
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "packed")
    assert shipped_bundle("meddiff-fm") == tmp_path / "packed" / "meddiff-fm"
    error = CliRunner().invoke(app, ["model", "pack", str(model), f"--out={tmp_path / 'packed'}"]).exception
    assert isinstance(error, UserError)
    assert "give each bundle as NAME=FOLDER" in str(error)
