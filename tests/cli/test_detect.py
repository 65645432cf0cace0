"""`meddiff detect` by default gives what Table 5 scores under the paper's name; flags give the other rows."""

from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.volumes.volumes import from_zyx, like, read_acquired, read_labels
from tests.volumes.dicom.files import write_series

# 450 HU darker, as expected, 450 HU brighter
MAP_HU = np.array([[[-450.0, 0.0, 450.0]] * 2] * 2, np.float32)


@pytest.fixture
def detect(tmp_path, monkeypatch):
    """Run the verb with a model whose map is `MAP_HU`; return whether it saw the organ alone, and a row of the mask."""
    seen = {}

    def found(_scan, organ, _anatomy, timestep, masked, seed):
        seen.update(organ=organ, timestep=timestep, masked=masked, seed=seed)
        return from_zyx(MAP_HU, 1.0)

    monkeypatch.setattr("meddiff.cli.detect.open_model", lambda *_: SimpleNamespace(detect=found))
    (tmp_path / "ct.nii.gz").touch()

    def run(*flags):
        files = ["-o", str(tmp_path / "map.nii.gz"), "--mask-out", str(tmp_path / "mask.nii.gz")]
        command = ["detect", str(tmp_path / "ct.nii.gz"), "--organ", "lung", "--threshold-hu", "100", *files, *flags]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert (seen["organ"], seen["timestep"], seen["seed"]) == ("lung", None, 0)
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nii.gz")))
        return seen["masked"], mask[0, 0].tolist()

    return run


def test_the_default_is_the_papers_map_and_its_size(detect):
    assert detect() == (True, [1, 0, 1])


def test_flags_give_the_other_rows(detect):
    assert detect("--whole-scan", "--brighter-only") == (False, [0, 0, 1])


def test_a_mask_that_was_not_written_is_made_up_for(tmp_path, monkeypatch):
    """Whether the first run was stopped at it, or did not ask for it."""
    for name in ("a.nii.gz", "b.nii.gz"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    model = SimpleNamespace(detect=lambda *_: from_zyx(MAP_HU, 1.0))
    monkeypatch.setattr("meddiff.cli.detect.open_model", lambda *_: model)
    masked = ["--mask-out", str(tmp_path / "masks"), "--threshold-hu", "100"]

    def run(*flags):
        command = ["detect", str(tmp_path / "in"), "--organ", "lung", "-o", str(tmp_path / "out"), *flags]
        return CliRunner().invoke(app, command)

    with monkeypatch.context() as full:
        full.setattr("meddiff.derived.out.write_labels", raise_full_disk)
        assert isinstance(run(*masked).exception, OSError)
    assert not (tmp_path / "out").exists()
    for flags, status in (([], "done"), (masked, "done"), (masked, "skipped")):
        assert [row.split()[1] for row in run(*flags).output.splitlines()] == [status, status]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a.nii.gz", "b.nii.gz"]


def raise_full_disk(*_):
    raise OSError(28, "No space left on device")


def test_where_nothing_reaches_the_threshold_the_map_is_written_and_it_is_said_that_no_seg_is(tmp_path, monkeypatch):
    write_series(tmp_path / "ct", np.arange(32).reshape(2, 4, 4) * 40 - 1000)
    found = SimpleNamespace(detect=lambda *_: like(np.zeros((2, 4, 4), np.float32), read_acquired(tmp_path / "ct")))
    monkeypatch.setattr("meddiff.cli.detect.open_model", lambda *_: found)
    files = ["-o", str(tmp_path / "map"), "--mask-out", str(tmp_path / "mask.seg.dcm"), "--threshold-hu", "100"]
    done = CliRunner().invoke(app, ["detect", str(tmp_path / "ct"), "--organ", "lung", *files])
    assert "no voxel has a label" in str(done.exception)
    assert len(list((tmp_path / "map").iterdir())) == 2


def test_of_a_dicom_folder_map_and_mask_are_dicom(tmp_path, monkeypatch):
    write_series(tmp_path / "ct", np.arange(32).reshape(2, 4, 4) * 40 - 1000)
    around = (0, 0), (0, 2), (0, 1)
    found = SimpleNamespace(detect=lambda *_: like(np.pad(MAP_HU, around), read_acquired(tmp_path / "ct")))
    monkeypatch.setattr("meddiff.cli.detect.open_model", lambda *_: found)
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
