"""The same scan in two datasets is found, whatever file it is in; another one is not."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk

from meddiff.config import Region
from meddiff.datasets import fingerprints
from meddiff.datasets.fingerprints import Fingerprints, quarantine_duplicates, slice_fingerprint, voxel_fingerprint
from meddiff.datasets.index import Case
from meddiff.machine.tsv import write_tsv
from tests.volumes.dicom.files import write_series
from tests.volumes.test_volumes import write_dicom_series


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
        lambda image: sitk.Clamp(image, lowerBound=-950, upperBound=910),
    ],
    ids=["compressed", "flipped", "as float", "clipped"],
)
def test_the_same_scan_in_another_file_has_the_same_fingerprints(tmp_path, other):
    first, second = write(scan(), tmp_path / "a.nii"), write(other(scan()), tmp_path / "b.nii.gz")
    assert slice_fingerprint(first) == slice_fingerprint(second) != ""
    assert voxel_fingerprint(first) == voxel_fingerprint(second) != ""


def test_other_voxels_or_another_spacing_are_another_scan(tmp_path):
    paths = [
        write(scan(), tmp_path / "a.nii.gz"),
        write(scan(seed=1), tmp_path / "b.nii.gz"),
        write(scan(spacing_mm=(0.7, 0.8, 5.0)), tmp_path / "c.nii.gz"),
    ]
    assert len({slice_fingerprint(path) for path in paths}) == 3


def test_scans_that_differ_above_the_first_slice_alone_are_no_duplicates(tmp_path, table):
    changed = scan()
    changed[3, 3, 4] = 1500
    cases = [case(write(scan(), tmp_path / "a.nii.gz")), case(write(changed, tmp_path / "b.nii.gz"), name="y")]
    assert slice_fingerprint(cases[0].image) == slice_fingerprint(cases[1].image)
    assert quarantine_duplicates(cases, Fingerprints(table)) == cases


def test_a_scan_that_is_tested_on_is_kept_and_its_copy_for_training_quarantined(tmp_path, table):
    training = case(write(scan(), tmp_path / "a.nii.gz"), "abdomenct-1k", name="Case-1")
    testing = case(write(scan(), tmp_path / "b.nii.gz"), "msd-liver", "downstream", "liver-1")
    other = case(write(scan(seed=1), tmp_path / "c.nii.gz"), "abdomenct-1k", name="Case-2")
    marked = quarantine_duplicates([training, other, testing], Fingerprints(table))
    expected = dataclasses.replace(training, quarantine="the same scan as msd-liver_liver-1")
    assert marked == [expected, other, testing]


def test_between_archives_that_share_scans_an_upside_down_and_clipped_copy_is_found(tmp_path, table):
    turned = sitk.Clamp(sitk.Flip(scan(), (False, False, True)), lowerBound=-950, upperBound=910)
    training = case(write(scan(), tmp_path / "a.nii.gz"), "abdomenct-1k", name="Case-1")
    other = case(write(scan(seed=1), tmp_path / "c.nii.gz"), "abdomenct-1k", name="Case-2")
    testing = case(write(turned, tmp_path / "b.nii.gz"), "msd-liver", "downstream", "liver-1")
    assert slice_fingerprint(training.image) != slice_fingerprint(testing.image)
    marked = quarantine_duplicates([training, other, testing], Fingerprints(table))
    assert [c.quarantine for c in marked] == ["the same scan as msd-liver_liver-1", "", ""]


def test_scans_of_the_same_size_without_any_tissue_are_no_duplicates(tmp_path, table):
    empty = [sitk.Image(10, 8, 6, sitk.sitkInt16) + hu for hu in (-1024, -2000)]
    cases = [case(write(image, tmp_path / f"{n}.nii.gz"), name=str(n)) for n, image in enumerate(empty)]
    assert slice_fingerprint(cases[0].image) == slice_fingerprint(cases[1].image)
    assert quarantine_duplicates(cases, Fingerprints(table)) == cases


def test_a_table_of_an_older_version_is_made_anew(tmp_path, table):
    path = write(scan(), tmp_path / "a.nii.gz")
    stat = path.stat()
    old = {"path": str(path), "size": str(stat.st_size), "modified": str(stat.st_mtime_ns), "quick": "x", "full": "x"}
    write_tsv([old], tuple(old), table)
    assert Fingerprints(table).read([path], "voxels") == {path: voxel_fingerprint(path)}


def test_a_dicom_series_that_was_copied_is_found(tmp_path, table):
    hu_zyx = np.random.default_rng(0).integers(-900, 900, (4, 8, 9)).astype(np.int16)
    for folder in ("a", "c"):
        write_dicom_series(tmp_path / folder, hu_zyx)
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a").iterdir():
        (tmp_path / "b" / f"IM{path.name}").write_bytes(path.read_bytes())
    cases = [case(tmp_path / name, name=name) for name in "abc"]
    assert [c.quarantine for c in quarantine_duplicates(cases, Fingerprints(table))] == ["", "the same scan as a_a", ""]


def test_series_with_the_same_identifier_and_other_voxels_are_all_kept_and_a_copy_is_not(tmp_path, table):
    """The phases of a scan, sorted into folders, and the patients of an anonymiser that knows one identifier."""
    hu_zyx = np.random.default_rng(0).integers(-900, 900, (4, 8, 9)).astype(np.int16)
    for name, shift in {"a": 0, "b": 20, "c": 40, "copy": 20}.items():
        write_series(tmp_path / name, hu_zyx + shift, SeriesInstanceUID="1.2.826.77")
    cases = [case(tmp_path / name, name=name) for name in ("a", "b", "c", "copy")]
    marked = quarantine_duplicates(cases, Fingerprints(table))
    assert [c.quarantine for c in marked] == ["", "", "", "the same scan as a_b"]


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
    first = Fingerprints(table).read(paths, "slice")
    asked = []

    def spy(path):
        asked.append(path)
        return slice_fingerprint(path)

    monkeypatch.setattr(fingerprints, "slice_fingerprint", spy)
    write(scan(seed=7, spacing_mm=(1, 1, 1)), paths[1])
    paths.append(write(scan(seed=9), tmp_path / "9.nii.gz"))
    second = Fingerprints(table).read(paths, "slice")
    assert sorted(asked) == [paths[1], paths[3]]
    assert second[paths[0]] == first[paths[0]]
    assert second[paths[1]] != first[paths[1]]


def test_what_was_read_before_an_interruption_is_kept(tmp_path, table, monkeypatch):
    paths = [write(scan(seed), tmp_path / f"{seed}.nii.gz") for seed in range(3)]

    def interrupted(path):
        if path == paths[2]:
            raise KeyboardInterrupt
        return slice_fingerprint(path)

    with monkeypatch.context() as context:
        context.setattr(fingerprints, "slice_fingerprint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Fingerprints(table).read(paths, "slice")
    asked = []
    monkeypatch.setattr(fingerprints, "slice_fingerprint", lambda path: asked.append(path) or "x")
    Fingerprints(table).read(paths, "slice")
    assert asked == [paths[2]]


def test_the_table_of_fingerprints_tells_no_identifiers(tmp_path, table):
    write_dicom_series(tmp_path / "a", np.random.default_rng(0).integers(-900, 900, (4, 8, 9)).astype(np.int16))
    Fingerprints(table).read([tmp_path / "a"], "slice")
    text = table.read_text()
    assert "secret" not in text.lower()
    assert "1.2.826" not in text
