"""Preparation: what memory a case needs is known from its header; what cannot be used is quarantined."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.config import Config, DataConfig, Region, parse_config
from meddiff.config.stages import params_of, restrict, settings_of
from meddiff.datasets.index import Case
from meddiff.demo.phantom import make_phantom
from meddiff.errors import UserError
from meddiff.machine.shards import read_index
from meddiff.stages.memory import resampling_bytes, volume_header
from meddiff.stages.resample import resample
from meddiff.volumes.volumes import from_zyx, write_image
from tests.volumes.dicom.files import write_series


def written(path, pixel_type, spacing):
    image = sitk.GetImageFromArray(np.zeros((20, 30, 40), np.int16))
    image.SetSpacing(spacing)
    sitk.WriteImage(sitk.Cast(image, pixel_type), str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_reading_counts_where_voxels_become_larger_and_the_result_where_they_become_smaller(tmp_path, suffix):
    voxels = 20 * 30 * 40
    fine = written(tmp_path / f"fine{suffix}", sitk.sitkInt16, (0.5, 0.5, 0.5))
    assert resampling_bytes(fine, 1.0) == 7 * voxels
    floats = written(tmp_path / f"floats{suffix}", sitk.sitkFloat64, (0.5, 0.5, 0.5))
    assert resampling_bytes(floats, 1.0) == 19 * voxels
    coarse = written(tmp_path / f"coarse{suffix}", sitk.sitkInt16, (2.0, 2.0, 5.0))
    assert resampling_bytes(coarse, 1.0) == pytest.approx(2 * voxels + 6 * 20 * voxels)


def test_a_series_of_slices_counts_all_its_files(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((30, 40), np.int16))
    for number in range(7):
        sitk.WriteImage(image, str(tmp_path / f"{number}.nrrd"))
    header = volume_header(tmp_path)
    assert header is not None
    assert header[:2] == (7 * 30 * 40, 2)


def test_what_cannot_be_read_needs_no_memory_and_is_refused_later(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    assert resampling_bytes(tmp_path / "broken.nii.gz", 1.0) == 0
    assert resampling_bytes(tmp_path / "absent.nii.gz", 1.0) == 0
    (tmp_path / "empty").mkdir()
    assert resampling_bytes(tmp_path / "empty", 1.0) == 0


@pytest.mark.parametrize("present", [["a_1"], []], ids=["one dataset away", "both away"])
def test_a_dataset_whose_disk_is_away_ends_the_job_and_quarantines_nothing(tmp_path, present):
    cases = [
        Case(dataset, case, tmp_path / dataset / f"{case}.nii.gz", Region.CHEST, "pretraining", "train", 0)
        for dataset in ("a", "b")
        for case in ("1", "2")
    ]
    for case in cases:
        if case.id in present:
            case.image.parent.mkdir()
            write_image(from_zyx(np.zeros((22, 30, 30), np.int16), 3.0), case.image)
    away = "b" if present else "a"
    with pytest.raises(UserError, match=f"{away}: nothing of it is below .*/{away} any more; mount its disk"):
        resample(cases, Config(data=DataConfig(spacing_mm=6.0)), tmp_path / "out" / "index.tsv")
    assert not (tmp_path / "out" / "index.tsv").exists()


def test_scans_that_are_too_small_or_were_marked_by_the_index_are_quarantined(tmp_path):
    sizes = {"large": 22, "small": 21, "twice": 22}
    for name, slices in sizes.items():
        hu_zyx = np.random.default_rng(0).integers(-1000, 100, (slices, 30, 30)).astype(np.int16)
        write_image(from_zyx(hu_zyx, 3.0), tmp_path / f"{name}.nii.gz")
    marks = {"twice": "the same scan as own_large"}
    cases = [
        Case("own", name, tmp_path / f"{name}.nii.gz", Region.CHEST, "pretraining", "train", 0, quarantine=mark)
        for name, mark in ((name, marks.get(name, "")) for name in sizes)
    ]
    config = Config(data=DataConfig(spacing_mm=6.0, min_extent_mm=64.0))
    resample(cases, config, tmp_path / "out" / "index.tsv")
    reasons = {row.id: row.reason for row in read_index(tmp_path / "out" / "index.tsv")}
    assert reasons == {
        "own_large": "",
        "own_small": "too small: 90x90x63 mm, and 64 mm are needed",
        "own_twice": "the same scan as own_large",
    }


ONE = {"datasets": [{"name": "own", "root": "/a", "region": "chest"}]}
ANOTHER = {
    "datasets": [{"name": "own", "root": "/b", "region": "chest"}, {"name": "new", "root": "/c", "region": "han"}],
    "split": [0.8, 0.1, 0.1],
}


def test_one_more_dataset_another_root_or_another_machine_prepares_the_new_cases_alone(tmp_path):
    for name in ("old", "new"):
        write_image(from_zyx(make_phantom(0, 6.0, "chest").ct_zyx, 6.0), tmp_path / f"{name}.nii.gz")
    place = (Region.CHEST, "pretraining", "train", 0)
    old, new = (Case("own", name, tmp_path / f"{name}.nii.gz", *place) for name in ("old", "new"))
    before = parse_config({"data": ONE}, "")
    after = parse_config({"data": ANOTHER, "machine": {"data_shards": 3, "device": "cpu", "workers": 1}}, "")
    resample([old], restrict(before, "resample"), tmp_path / "ct" / "i.tsv")
    first = (tmp_path / "ct" / "own_old.nii.gz").stat().st_mtime_ns
    (tmp_path / "moved").mkdir()
    moved = replace(old, image=old.image.rename(tmp_path / "moved" / "old.nii.gz"), split="val", shard=1)
    resample([moved, new], restrict(after, "resample"), tmp_path / "ct" / "i.tsv")
    assert [row.status for row in read_index(tmp_path / "ct" / "i.tsv")] == ["done"] * 2
    assert (tmp_path / "ct" / "own_old.nii.gz").stat().st_mtime_ns == first
    for stage in ("resample", "anatomy", "regions", "store", "qc"):
        assert settings_of(after, stage) == settings_of(before, stage)


def test_a_scan_that_lost_slices_is_quarantined_unless_that_is_allowed_and_then_its_row_says_so(tmp_path):
    hu_zyx = np.random.default_rng(0).integers(-1000, 100, (24, 8, 8))
    for name in ("whole", "cut"):
        write_series(tmp_path / name, hu_zyx, spacing_mm=(9.0, 9.0))
    (tmp_path / "cut" / "1-23.dcm").write_bytes(b"")
    cases = [Case("own", name, tmp_path / name, Region.CHEST, "pretraining", "train", 0) for name in ("cut", "whole")]
    found = {}
    for allowed in (False, True):
        config = Config(data=DataConfig(spacing_mm=6.0, allow_missing_slices=allowed))
        resample(cases, restrict(config, "resample"), tmp_path / "out" / "index.tsv")
        found[allowed] = read_index(tmp_path / "out" / "index.tsv")
    assert [row.status for row in found[False]] == ["quarantined", "done"]
    assert "1 files are cut off" in found[False][0].reason
    assert [row.status for row in found[True]] == ["done", "done"]
    assert "1 files are cut off" in found[True][0].notes
    assert (found[True][1].notes, found[False][1].notes) == ("", "")


def test_whether_slices_may_be_missing_makes_no_scan_anew_where_it_stays_as_it_was():
    allowed = Config(data=DataConfig(allow_missing_slices=True))
    assert settings_of(allowed, "resample") == settings_of(Config(), "resample")
    assert params_of(allowed, "resample") != params_of(Config(), "resample")
