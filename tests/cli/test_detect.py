"""`meddiff detect` by default gives what Table 5 scores under the paper's name; flags give the other rows."""

from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.config import Config, SamplingConfig, WindowsConfig
from meddiff.volumes.volumes import from_zyx, like, read_acquired, read_labels
from tests.volumes.dicom.files import write_series

MAP = np.array([[[-0.5, 0.0, 0.5]] * 2] * 2, np.float32)  # 450 HU darker, as expected, 450 HU brighter


@pytest.fixture
def detect(tmp_path, monkeypatch):
    """Run the verb with a model whose map is `MAP`; return whether it saw the organ alone, and the mask's columns."""
    seen = {}
    scan = SimpleNamespace(
        hu_zyx=MAP, anatomy_zyx=MAP, spacing_mm=1.0, window=WindowsConfig().chest, as_map=lambda x: from_zyx(x, 1.0)
    )

    def anomaly_map(*arguments):
        seen["masked"] = arguments[-2].masked
        return MAP

    sampler = SimpleNamespace(model=SimpleNamespace(scans={}), config=SamplingConfig())
    monkeypatch.setattr("meddiff.cli.detect.own_model", lambda _: "model")
    monkeypatch.setattr("meddiff.cli.detect.own_config", lambda *_: Config())
    monkeypatch.setattr("meddiff.tasks.sampler.Sampler", lambda *_: sampler)
    monkeypatch.setattr("meddiff.tasks.scan.read_scan", lambda *_: scan)
    monkeypatch.setattr("meddiff.tasks.anomaly.organ_mask", lambda *_: MAP)
    monkeypatch.setattr("meddiff.tasks.fit.scan_misfits", lambda *_: [])
    monkeypatch.setattr("meddiff.tasks.anomaly.anomaly_map", anomaly_map)
    (tmp_path / "ct.nii.gz").touch()

    def run(*flags):
        files = ["-o", str(tmp_path / "map.nii.gz"), "--mask-out", str(tmp_path / "mask.nii.gz")]
        command = ["detect", str(tmp_path / "ct.nii.gz"), "--organ", "lung", "--threshold-hu", "100", *files, *flags]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nii.gz")))
        return seen["masked"], mask[0, 0].tolist()

    return run


def test_of_a_dicom_folder_map_and_mask_are_dicom(detect, tmp_path, monkeypatch):
    write_series(tmp_path / "ct", np.arange(32).reshape(2, 4, 4) * 40 - 1000)
    around = (0, 0), (0, 2), (0, 1)
    scan = SimpleNamespace(
        **dict.fromkeys(("hu_zyx", "anatomy_zyx"), MAP),
        spacing_mm=1.0,
        window=WindowsConfig().chest,
        as_map=lambda values: like(np.pad(values, around), read_acquired(tmp_path / "ct")),
    )
    monkeypatch.setattr("meddiff.tasks.scan.read_scan", lambda *_: scan)
    files = ["-o", str(tmp_path / "map"), "--mask-out", str(tmp_path / "mask.seg.dcm"), "--threshold-hu", "100"]
    command = ["detect", str(tmp_path / "ct"), "--organ", "lung", *files]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for path in (tmp_path / "map").iterdir():
        tags = pydicom.dcmread(path)
        assert tags.SeriesDescription == "anomaly map, lung: scan minus expected, in HU"
        np.testing.assert_allclose(tags.pixel_array[:2, :3] * tags.RescaleSlope, [[-450, 0, 450]] * 2)
    mask = read_labels(tmp_path / "mask.seg.dcm", read_acquired(tmp_path / "ct"), ["anomaly"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), np.pad([[[1, 0, 1]] * 2] * 2, around))


def test_the_default_is_the_papers_map_and_its_size(detect):
    assert detect() == (True, [1, 0, 1])


def test_flags_give_the_other_rows(detect):
    assert detect("--whole-scan", "--brighter-only") == (False, [0, 0, 1])
