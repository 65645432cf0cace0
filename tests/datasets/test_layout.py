"""The registry: every published layout indexes to the expected rows, and another layout is named in one line."""

import json

import numpy as np
import pytest

from meddiff.config import DataConfig, DatasetConfig, Region
from meddiff.datasets import PUBLISHED, REGISTRY, known_below, resolve
from meddiff.datasets.index import find_cases, read_manifest, write_manifest
from meddiff.errors import UserError
from meddiff.volumes import volumes
from meddiff.volumes.ct_rate import Header
from tests.datasets.layouts import TREES
from tests.volumes.test_volumes import write_dicom_series

PAPER_COUNTS = {  # Tables 1 and 2
    "structseg": 50,
    "instance2022": 130,
    "han-seg": 42,
    "segrap2023": 140,
    "segthor": 40,
    "ct-rate": 1000,
    "abdomenct-1k": 1062,
    "amos22": 500,
    "btcv": 30,
    "chaos": 20,
    "word": 120,
    "totalsegmentator": 1228,
    "autopet": 1014,
    "mayo2016": 10,
    "msd-lung": 63,
    "msd-liver": 131,
    "med-ln": 90,
    "abd-ln": 86,
}


def plant(name, root):
    """Write the files of a tree, empty but for the tables."""
    tree = TREES[name]
    for path in tree.paths:
        target = root / path / "slice.dcm" if path.endswith("/") else root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    for path, text in tree.texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return tree


def index(name, root, **settings):
    entry = DatasetConfig(name=name, root=root, **settings)
    config = DataConfig(datasets=(entry,), split_by="publisher")
    return {case.case: case for case in find_cases(config, root, 0)}


def test_every_dataset_of_the_paper_has_an_entry_with_its_count():
    assert {d.name: d.cases_paper for d in PUBLISHED if d.cases_paper} == PAPER_COUNTS
    pretraining = [d.cases_paper or 0 for d in PUBLISHED if d.role == "pretraining"]
    assert (len(pretraining), sum(pretraining)) == (13, 5376)
    assert REGISTRY["rplhr-ct"].cases_expected == 250


@pytest.mark.parametrize("dataset", PUBLISHED, ids=lambda dataset: dataset.name)
def test_every_entry_says_how_to_get_it_under_which_licence(dataset):
    assert dataset.licence
    assert dataset.page.startswith("http")
    assert dataset.files or dataset.steps


@pytest.mark.parametrize("name", [dataset.name for dataset in PUBLISHED])
def test_the_published_layout_indexes_to_the_expected_rows(name, tmp_path):
    tree = plant(name, tmp_path)
    cases = index(name, tmp_path)
    assert set(cases) == set(tree.rows)
    for case_name, (image, split, *partners) in tree.rows.items():
        case = cases[case_name]
        assert case.image == tmp_path / image
        assert [case.lesion, case.low_dose, case.thick] == [p and tmp_path / p for p in partners]
        assert case.split == split if split else case.split in ("train", "val", "test")


@pytest.mark.parametrize("name", [dataset.name for dataset in PUBLISHED])
def test_another_layout_says_what_was_expected_and_found(name, tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "patient.xyz").touch()
    with pytest.raises(UserError) as caught:
        index(name, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"data.datasets: {name}: expected {REGISTRY[name].image[0]}")
    assert "found scans/" in message
    assert "\n" not in message


def test_all_wrong_folders_are_named_at_once(tmp_path):
    entries = tuple(DatasetConfig(name=name, root=tmp_path) for name in ("btcv", "word"))
    with pytest.raises(UserError) as caught:
        find_cases(DataConfig(datasets=entries), tmp_path, 0)
    assert [line.split(":")[1].strip() for line in str(caught.value).splitlines()] == ["btcv", "word"]


def test_lesion_labels_are_the_tumour_and_not_the_organ(tmp_path):
    for name, values in (("msd-lung", (1,)), ("msd-liver", (2,)), ("med-ln", ())):
        plant(name, tmp_path / name)
        assert {case.lesion_values for case in index(name, tmp_path / name).values()} == {values}


def test_masks_of_lymph_nodes_lie_on_the_scans_own_grid(tmp_path):
    plant("abd-ln", tmp_path)
    assert all(case.lesion_on_scan_grid for case in index("abd-ln", tmp_path).values())


def test_ct_rate_gets_its_header_from_the_table_unless_the_volume_is_a_fixed_one(tmp_path):
    plant("ct-rate", tmp_path)
    cases = index("ct-rate", tmp_path)
    header = Header.from_text(cases["train-1-a-1"].header)
    assert (header.slope, header.intercept) == (1, -1024)
    assert header.spacing_mm == (0.75, 0.75, 1.5)
    assert header.origin_mm == (-180, -190, -300)
    assert cases["train-2-a-1"].header == "" == cases["train-2-a-1"].quarantine


def test_a_volume_of_ct_rate_that_no_table_knows_is_quarantined_with_the_reason(tmp_path):
    plant("ct-rate", tmp_path)
    case = index("ct-rate", tmp_path)["valid-1-a-2"]
    assert "no row of metadata/*_metadata.csv" in case.quarantine


@pytest.mark.parametrize("text", ["image_id;age\ns0000;60\n", "image_id;split\ns0000;holdout\n", "s0000,train\n"])
def test_a_table_of_splits_of_another_kind_is_one_line(tmp_path, text):
    plant("totalsegmentator", tmp_path)
    (tmp_path / "meta.csv").write_text(text + "s1429;35\n")
    with pytest.raises(UserError, match=r"meta\.csv: expected the columns image_id and split") as caught:
        index("totalsegmentator", tmp_path)
    assert "\n" not in str(caught.value)


def test_without_the_table_splits_are_drawn(tmp_path):
    plant("totalsegmentator", tmp_path)
    (tmp_path / "meta.csv").unlink()
    assert set(index("totalsegmentator", tmp_path)) == {"s0000", "s1429"}


def test_of_the_dicom_series_of_one_study_the_longest_is_taken(tmp_path):
    plant("med-ln", tmp_path)
    series = index("med-ln", tmp_path)["MED-LYMPH-001"].image
    (series / "another.dcm").touch()
    short = series.parent / "300.000000-Segmentation-1"
    short.mkdir()
    (short / "seg.dcm").touch()
    assert index("med-ln", tmp_path)["MED-LYMPH-001"].image == series


def test_the_other_scan_of_segrap_can_be_chosen_instead(tmp_path):
    plant("segrap2023", tmp_path)
    cases = index("segrap2023", tmp_path, image="segrap_*/image_contrast.nii.gz")
    assert {case.image.name for case in cases.values()} == {"image_contrast.nii.gz"}
    assert set(cases) == {"segrap-0000"}


def test_an_own_dataset_with_lesions_needs_a_line_more_and_is_a_downstream_one(tmp_path):
    for name in ("scans/a.nii.gz", "scans/b.nii.gz", "lesions/a.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    cases = index("mine", tmp_path, region=Region.CHEST, image="scans/*", lesion="lesions/{name}")
    assert cases["a"].lesion == tmp_path / "lesions" / "a.nii.gz"
    assert cases["b"].lesion is None
    assert {(case.role, case.lesion_values) for case in cases.values()} == {("downstream", ())}


def test_a_known_dataset_keeps_its_lesion_values_when_its_labels_lie_elsewhere(tmp_path):
    entry = DatasetConfig(name="msd-liver", root=tmp_path, lesion="mine/{name}")
    assert resolve(entry, tmp_path).lesion_values == (2,)


def test_capitals_in_a_suffix_are_no_part_of_a_cases_name(tmp_path):
    for name in ("A.NII.GZ", "b.Nii.gz", "C.NRRD"):
        (tmp_path / name).touch()
    own = DatasetConfig(name="own", root=tmp_path, region=Region.CHEST)
    found = find_cases(DataConfig(datasets=(own,)), tmp_path, 0)
    assert [case.case for case in found] == ["A", "C", "b"]


def test_folders_named_as_in_the_registry_are_found_and_others_left_alone(tmp_path):
    for name in ("btcv", "chaos", "my-scans"):
        (tmp_path / name).mkdir()
    assert {entry.name for entry in known_below(tmp_path)} == {"btcv", "chaos"}
    with pytest.raises(UserError, match=r"expected folders .* found an empty folder"):
        known_below(tmp_path / "btcv")


def test_mayos_slices_are_read_in_hu_from_their_rescale_tags_whatever_their_suffix(tmp_path):
    hu_zyx = np.random.default_rng(0).integers(-900, 900, (50, 50, 50)).astype(np.int16)
    for dose in ("full_1mm", "quarter_1mm"):
        write_dicom_series(tmp_path / "L067" / dose, hu_zyx)
        for path in list((tmp_path / "L067" / dose).iterdir()):
            path.rename(path.with_suffix(".IMA"))
    case = index("mayo2016", tmp_path)["L067"]
    assert case.low_dose == tmp_path / "L067" / "quarter_1mm"
    for folder in (case.image, tmp_path / "L067" / "quarter_1mm"):
        np.testing.assert_array_equal(volumes.to_zyx(volumes.read_ct(folder)), hu_zyx)


def test_the_manifest_keeps_all_that_reading_needs(tmp_path):
    for name in ("ct-rate", "med-ln", "msd-liver", "rplhr-ct"):
        plant(name, tmp_path / name)
    cases = find_cases(DataConfig(datasets=tuple(known_below(tmp_path))), tmp_path, 0)
    write_manifest(cases, tmp_path / "manifest.tsv")
    assert read_manifest(tmp_path / "manifest.tsv") == cases
    assert json.loads(next(case.header for case in cases if case.header))["slope"] == 1
