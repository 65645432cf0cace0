"""The splits: nobody is in two of them, the shares are exact, and neither disk nor other datasets move anyone."""

import hashlib
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meddiff.config import DataConfig, DatasetConfig, Region, parse_config
from meddiff.datasets import PUBLISHED, REGISTRY
from meddiff.datasets.index import find_cases
from meddiff.datasets.splits import SPLITS, draw_by_hash, draw_exact, exact_sizes, expected_sizes, hash_of, shares_of
from meddiff.errors import UserError
from tests.volumes.dicom.files import write_series

PAPER = (0.90, 0.05, 0.05)


def plant(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def index(name, root, seed=0, **settings):
    entry = DatasetConfig(name=name, root=root, **settings.pop("entry", {}))
    return find_cases(DataConfig(datasets=(entry,), **settings), root, seed)


def sizes(cases):
    splits = [case.split for case in cases]
    return tuple(splits.count(split) for split in SPLITS)


def splits_of(cases, patient):
    """Return the splits of each patient, by a name that the test knows."""
    found = {}
    for case in cases:
        found.setdefault(patient(case), set()).add(case.split)
    return found


def write_patient(folder, patient):
    write_series(folder, np.zeros((2, 4, 4), np.int16), PatientID=patient)


def autopet(root):
    """1,014 studies of 900 patients, as published: most have one, some two or three."""
    studies = [3] * 14 + [2] * 86 + [1] * 800
    plant(root, (f"PETCT_{p:04x}/study-{s}/CT.nii.gz" for p, count in enumerate(studies) for s in range(count)))


def test_nobody_of_autopet_is_in_two_splits_and_the_shares_are_the_papers(tmp_path):
    autopet(tmp_path)
    cases = index("autopet", tmp_path)
    patients = splits_of(cases, lambda case: case.case.split("-")[1])
    assert len(patients) == 900
    assert {len(splits) for splits in patients.values()} == {1}
    assert sizes(cases) == (912, 51, 51)


def test_scans_and_reconstructions_of_ct_rate_belong_to_one_patient(tmp_path):
    for folder, people in (("train", 60), ("valid", 40)):
        plant(
            tmp_path,
            (
                f"{folder}_fixed/{folder}_{n}/{folder}_{n}_{scan}/{folder}_{n}_{scan}_{volume}.nii.gz"
                for n in range(people)
                for scan in "ab"
                for volume in (1, 2)
            ),
        )
    cases = index("ct-rate", tmp_path)
    patients = splits_of(cases, lambda case: tuple(case.case.split("-")[:2]))
    assert len(patients) == 100
    assert {len(splits) for splits in patients.values()} == {1}
    assert sizes(cases) == (360, 20, 20)


@pytest.mark.parametrize("dataset", PUBLISHED, ids=lambda dataset: dataset.name)
def test_what_a_plan_expects_is_what_a_complete_dataset_gives(dataset):
    config = DataConfig()
    scans = {str(number): 1 for number in range(dataset.cases_expected)}
    drawn = draw_exact(dataset.name, scans, shares_of(dataset, config), 0)
    expected = expected_sizes(dataset, dataset.cases_expected, config)
    if dataset.split_of:
        assert tuple(expected.values()) == dataset.split_sizes
    else:
        assert expected == {split: list(drawn.values()).count(split) for split in SPLITS}


@pytest.mark.parametrize(
    ("cases", "shares", "expected"),
    [
        (63, (0.8, 0, 0.2), (50, 0, 13)),
        (131, (0.8, 0, 0.2), (105, 0, 26)),
        (1062, PAPER, (956, 53, 53)),
        (50, PAPER, (44, 3, 3)),
        (1, (0, 0.5, 0.5), (0, 0, 1)),
    ],
)
def test_shares_are_rounded_to_the_nearest_case(cases, shares, expected):
    assert tuple(exact_sizes(cases, shares).values()) == expected


@given(
    st.dictionaries(st.text(max_size=5), st.integers(1, 4), max_size=60),
    st.integers(0, 5),
    st.integers(1, 20),
)
def test_no_split_is_larger_than_its_share_and_it_is_exact_where_scans_are_single(scans, seed, singles):
    scans = scans | {f"single {n}": 1 for n in range(singles)}
    wanted = exact_sizes(sum(scans.values()), PAPER)
    split = draw_exact("d", scans, PAPER, seed)
    found = {name: sum(n for patient, n in scans.items() if split[patient] == name) for name in SPLITS}
    assert set(split) == set(scans)
    assert all(found[name] <= wanted[name] for name in ("val", "test"))
    if set(scans.values()) == {1}:
        assert found == wanted


def test_the_draw_does_not_know_the_order_of_the_disk_and_follows_the_seed():
    names = [f"p{n}" for n in range(300)]
    forwards, backwards = ({n: 1 for n in order} for order in (names, names[::-1]))
    assert draw_exact("d", forwards, PAPER, 0) == draw_exact("d", backwards, PAPER, 0)
    assert draw_exact("d", forwards, PAPER, 0) != draw_exact("d", forwards, PAPER, 1)
    assert draw_exact("d", forwards, PAPER, 0) != draw_exact("e", forwards, PAPER, 0)


def test_hashes_are_the_same_on_every_machine():
    assert hash_of("a", "b") == int(hashlib.sha256(b"a\0b").hexdigest()[:16], 16)


def test_a_split_does_not_depend_on_which_other_datasets_there_are(tmp_path):
    plant(tmp_path / "btcv", (f"RawData/Training/img/img{n:04d}.nii.gz" for n in range(30)))
    plant(tmp_path / "msd-lung", (f"imagesTr/lung_{n:03d}.nii.gz" for n in range(63)))
    entries = tuple(DatasetConfig(name=name, root=tmp_path / name) for name in ("msd-lung", "btcv"))
    both = find_cases(DataConfig(datasets=entries), tmp_path, 0)
    alone = find_cases(DataConfig(datasets=entries[1:]), tmp_path, 0)
    assert set(alone) <= set(both)
    assert sizes(alone) == (26, 2, 2)
    assert sizes([case for case in both if case.dataset == "msd-lung"]) == (50, 0, 13)


def test_own_shares_are_about_right_and_new_scans_move_no_others(tmp_path):
    splits = [draw_by_hash("d", str(i), PAPER, 0) for i in range(4000)]
    assert abs(splits.count("train") / 4000 - 0.9) < 0.02
    assert abs(splits.count("test") / 4000 - 0.05) < 0.015
    assert splits != [draw_by_hash("d", str(i), PAPER, 1) for i in range(4000)]
    entry = {"region": Region.CHEST, "patient": r"(P\d+)_"}
    plant(tmp_path, (f"P{n}_first.nii.gz" for n in range(100)))
    few = index("mine", tmp_path, entry=entry)
    plant(tmp_path, (f"P{n}_second.nii.gz" for n in range(200)))
    many = index("mine", tmp_path, entry=entry)
    assert set(few) <= set(many)
    patients = splits_of(many, lambda case: case.case.split("-")[0])
    assert {len(splits) for splits in patients.values()} == {1}
    assert len(set().union(*patients.values())) > 1
    assert {case.split_origin for case in many} == {"a split by a hash of the patient, seed 0"}


def test_the_publishers_split_counts_where_it_is_asked_for(tmp_path):
    folders = ["Tr"] * 20 + ["Va"] * 10 + ["Ts"] * 20
    plant(tmp_path, (f"images{folder}/amos_{n:04d}.nii.gz" for n, folder in enumerate(folders)))
    assert sizes(index("amos22", tmp_path)) == (44, 3, 3)
    official = index("amos22", tmp_path, split_by="publisher")
    assert sizes(official) == (20, 10, 20)
    assert {case.split_origin for case in official} == {"the split of the publisher"}
    assert expected_sizes(REGISTRY["amos22"], 500, DataConfig(split_by="publisher")) == dict(
        zip(SPLITS, (200, 100, 200), strict=True)
    )


def test_super_resolution_and_denoising_keep_the_split_of_the_numbers_beside_theirs(tmp_path):
    plant(tmp_path / "a", (f"{kind}/1mm/CT{n}.nii.gz" for kind in SPLITS for n in range(4)))
    assert sizes(index("rplhr-ct", tmp_path / "a")) == (4, 4, 4)
    plant(tmp_path / "b", (f"{case}/full_1mm/1.IMA" for case in ("L067", "L310", "L333", "L506")))
    mayo = index("mayo2016", tmp_path / "b")
    assert {case.case for case in mayo if case.split == "test"} == {"L333", "L506"}
    assert {case.split_origin for case in mayo} == {"the split of Noise2Sim"}


def test_scans_of_one_dicom_patient_stay_together_and_the_identifier_is_written_nowhere(tmp_path, caplog):
    for number in range(12):
        write_patient(tmp_path / f"scan{number}", f"secret-{number // 3}")
    with caplog.at_level(logging.DEBUG):
        cases = index("mine", tmp_path, entry={"region": Region.CHEST, "patient": "PatientID"}, split=(0.4, 0.3, 0.3))
    patients = splits_of(cases, lambda case: int(case.case.removeprefix("scan")) // 3)
    assert len(patients) == 4
    assert {len(splits) for splits in patients.values()} == {1}
    assert len(set().union(*patients.values())) > 1
    assert "secret" not in caplog.text + repr(cases)


def test_scans_that_all_carry_one_identifier_are_told_of(tmp_path, caplog):
    for name in "ab":
        write_patient(tmp_path / name, "anonymous")
    index("mine", tmp_path, entry={"region": Region.CHEST, "patient": "PatientID"})
    assert "mine: all 2 cases are of one patient" in caplog.text
    assert "anonymous" not in caplog.text


@pytest.mark.parametrize(("pattern", "words"), [("P", "has 0 groups"), ("(a)(b)", "has 2 groups"), ("(", "no regular")])
def test_a_pattern_that_names_no_patient_is_one_line(pattern, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_config({"data": {"datasets": [{"name": "x", "patient": pattern}]}}, "my.yaml")
    assert "\n" not in str(caught.value)
