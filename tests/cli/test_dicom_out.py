"""Every verb on a scan: of a DICOM folder it writes what it writes of a file, as a series in the same study."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import yaml
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.volumes.dicom.labels import label_names
from meddiff.volumes.geometry import Grid
from meddiff.volumes.volumes import read_image, read_labels, to_zyx, write_image
from tests.api.test_model import folder as folder  # the tiny model and its ControlNets
from tests.derived.required import lacking
from tests.volumes.dicom.files import write_series

QUICK = {
    "sampling": {"steps": 1, "solver": "ddim", "overlap": 0, "bfloat16": False},
    "lesions": {"inpainting_steps": 2, "jump_length": 1, "resampling": 1},
    "super_resolution": {"steps": 2},
}
VERBS = {
    "denoise": ["denoise", "--region", "chest"],
    "detect": ["detect", "--organ", "lung", "--threshold-hu", "1"],
    "inpaint": [
        "lesion",
        "inpaint",
        "--region",
        "chest",
        "--organ",
        "lung",
        "--diameter-mm",
        "18",
        "--control",
        "lesions",
    ],
    "superres": ["superres", "--region", "chest", "--control", "thin"],
}


@pytest.fixture(scope="module")
def scans(folder):
    """The chest, with thick slices for super-resolution, as DICOM and as the file that holds the same voxels."""
    (folder / "config.yaml").write_text(yaml.safe_dump(QUICK))
    for name, step in {"whole": 1, "thick": 2}.items():
        for kind, lowest in {"ct": -1024, "anatomy": 0}.items():  # what DICOM files hold
            image = sitk.Clamp(read_image(folder / f"{kind}.nii.gz")[:, :, ::step], lowerBound=lowest)
            write_image(image, folder / f"{name}-{kind}.nii.gz")
        hu = to_zyx(read_image(folder / f"{name}-ct.nii.gz"))
        write_series(folder / name, hu, spacing_mm=(6.0, 6.0), step_mm=(0.0, 0.0, 6.0 * step))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gives_of_a_dicom_folder_what_it_gives_of_a_file(scans, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(scans)
    name = "thick" if verb == "superres" else "whole"
    masks = verb in ("detect", "inpaint")
    for scan, out, mask in ((f"{name}-ct.nii.gz", "out.nii.gz", "m.nii.gz"), (name, "series", "m.seg.dcm")):
        options = ["-o", str(tmp_path / out), "--anatomy", f"{name}-anatomy.nii.gz", "--model", "model"]
        options += ["--config", "config.yaml", *(["--mask-out", str(tmp_path / mask)] if masks else [])]
        done = CliRunner().invoke(app, [*VERBS[verb], scan, *options], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    of_file, of_series = read_image(tmp_path / "out.nii.gz"), reader.Execute()
    assert Grid.of(of_series).equals(Grid.of(of_file))
    np.testing.assert_allclose(to_zyx(of_series), to_zyx(of_file), atol=0.06 if verb == "detect" else 0)
    source, tags = (pydicom.dcmread(next(path.iterdir())) for path in (scans / name, tmp_path / "series"))
    assert (tags.StudyInstanceUID, tags.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert lacking(tags) <= lacking(source)
    if masks:
        mask = read_labels(tmp_path / "m.seg.dcm", of_file, label_names(tmp_path / "m.seg.dcm"))
        np.testing.assert_array_equal(to_zyx(mask), to_zyx(read_image(tmp_path / "m.nii.gz")))
    if shutil.which("dciodvfy"):
        assert errors_of(tmp_path / "series") <= errors_of(scans / name)


def errors_of(folder):
    done = subprocess.run(["dciodvfy", "-new", next(folder.iterdir())], capture_output=True, text=True, check=False)
    return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}
