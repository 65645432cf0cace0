"""The same scan in two datasets is found, whatever file it is in; another one is not."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.config import Region
from meddiff.data import fingerprints
from meddiff.data.fingerprints import Fingerprints, full_fingerprint, quarantine_duplicates, quick_fingerprint
from meddiff.data.index import Case
from tests.data.test_volumes import write_dicom_series


def scan(seed=0, spacing_mm=(0.7, 0.8, 2.5)):
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(-1000, 1000, (6, 8, 10)).astype(np.int16))
    image.SetSpacing(spacing_mm)
    return image


def write(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def case(path, dataset="a", role="pretraining", name="x"):
    return Case(dataset, name, path, Region.CHEST, role, "train", 0)


@pytest.fixture
def table(tmp_path):
    return tmp_path / "manifest.fingerprints.tsv"


@pytest.mark.parametrize(
    "other",
    [
        lambda image: image,
        lambda image: sitk.Flip(image, (True, True, False)),
        lambda image: sitk.Cast(image, sitk.sitkFloat32),
    ],
    ids=["compressed", "flipped", "as float"],
)
def test_the_same_scan_in_another_file_has_the_same_fingerprints(tmp_path, other):
    first, second = write(scan(), tmp_path / "a.nii"), write(other(scan()), tmp_path / "b.nii.gz")
    assert quick_fingerprint(first) == quick_fingerprint(second) != ""
    assert full_fingerprint(first) == full_fingerprint(second) != ""


def test_other_voxels_or_another_spacing_are_another_scan(tmp_path):
    paths = [
        write(scan(), tmp_path / "a.nii.gz"),
        write(scan(seed=1), tmp_path / "b.nii.gz"),
        write(scan(spacing_mm=(0.7, 0.8, 5.0)), tmp_path / "c.nii.gz"),
    ]
    assert len({quick_fingerprint(path) for path in paths}) == 3


def test_scans_that_differ_above_the_first_slice_alone_are_no_duplicates(tmp_path, table):
    changed = scan()
    changed[3, 3, 4] = 1500
    cases = [case(write(scan(), tmp_path / "a.nii.gz")), case(write(changed, tmp_path / "b.nii.gz"), name="y")]
    assert quick_fingerprint(cases[0].image) == quick_fingerprint(cases[1].image)
    assert quarantine_duplicates(cases, Fingerprints(table)) == cases


def test_a_scan_that_is_tested_on_is_kept_and_its_copy_for_training_quarantined(tmp_path, table):
    training = case(write(scan(), tmp_path / "a.nii.gz"), "abdomenct-1k", name="Case-1")
    testing = case(write(scan(), tmp_path / "b.nii.gz"), "msd-liver", "downstream", "liver-1")
    other = case(write(scan(seed=1), tmp_path / "c.nii.gz"), "abdomenct-1k", name="Case-2")
    marked = quarantine_duplicates([training, other, testing], Fingerprints(table))
    expected = dataclasses.replace(training, quarantine="the same scan as msd-liver_liver-1")
    assert marked == [expected, other, testing]


def test_a_dicom_series_that_was_copied_is_found(tmp_path, table):
    hu_zyx = np.random.default_rng(0).integers(-900, 900, (4, 8, 9)).astype(np.int16)
    for folder in ("a", "c"):
        write_dicom_series(tmp_path / folder, hu_zyx)
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a").iterdir():
        (tmp_path / "b" / f"IM{path.name}").write_bytes(path.read_bytes())
    cases = [case(tmp_path / name, name=name) for name in "abc"]
    assert [c.quarantine for c in quarantine_duplicates(cases, Fingerprints(table))] == ["", "the same scan as a_a", ""]


def test_nrrd_is_compared_too(tmp_path, table):
    cases = [case(write(scan(), tmp_path / f"{name}.nrrd"), name=name) for name in "ab"]
    assert quarantine_duplicates(cases, Fingerprints(table))[1].quarantine == "the same scan as a_a"


def test_unreadable_files_are_nobodys_duplicates(tmp_path, table):
    for name in ("a.nii.gz", "b.nii.gz", "c.nrrd"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    cases = [case(path, name=path.name) for path in sorted(tmp_path.iterdir())]
    assert quarantine_duplicates(cases, Fingerprints(table)) == cases


def test_a_second_run_reads_only_what_is_new_or_changed(tmp_path, table, monkeypatch):
    paths = [write(scan(seed), tmp_path / f"{seed}.nii.gz") for seed in range(3)]
    first = Fingerprints(table).of(paths, "quick")
    asked = []

    def spy(path):
        asked.append(path)
        return quick_fingerprint(path)

    monkeypatch.setattr(fingerprints, "quick_fingerprint", spy)
    write(scan(seed=7, spacing_mm=(1, 1, 1)), paths[1])
    paths.append(write(scan(seed=9), tmp_path / "9.nii.gz"))
    second = Fingerprints(table).of(paths, "quick")
    assert sorted(asked) == [paths[1], paths[3]]
    assert second[paths[0]] == first[paths[0]]
    assert second[paths[1]] != first[paths[1]]


def test_what_was_read_before_an_interruption_is_kept(tmp_path, table, monkeypatch):
    paths = [write(scan(seed), tmp_path / f"{seed}.nii.gz") for seed in range(3)]

    def interrupted(path):
        if path == paths[2]:
            raise KeyboardInterrupt
        return quick_fingerprint(path)

    with monkeypatch.context() as context:
        context.setattr(fingerprints, "quick_fingerprint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Fingerprints(table).of(paths, "quick")
    asked = []
    monkeypatch.setattr(fingerprints, "quick_fingerprint", lambda path: asked.append(path) or "x")
    Fingerprints(table).of(paths, "quick")
    assert asked == [paths[2]]


def test_the_table_of_fingerprints_tells_no_identifiers(tmp_path, table):
    write_dicom_series(tmp_path / "a", np.random.default_rng(0).integers(-900, 900, (4, 8, 9)).astype(np.int16))
    Fingerprints(table).of([tmp_path / "a"], "quick")
    text = table.read_text()
    assert "secret" not in text.lower()
    assert "1.2.826" not in text
