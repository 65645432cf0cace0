"""Who is trained on and who is tested on: patients are divided, never scans, by names and the seed alone.

Published sets are divided at random with exact shares (section 4.1). A set of one's own grows, so there a hash decides
for every patient alone, and scans that are added move no others.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from meddiff.config import DataConfig
from meddiff.datasets import Dataset
from meddiff.datasets.entry import SPLITS
from meddiff.datasets.layout import Found

TRAIN, VAL, TEST = SPLITS

log = logging.getLogger(__name__)


class Split(NamedTuple):
    """The split of a case, and in words who made it."""

    name: str
    origin: str


def split_cases(dataset: Dataset, found: Sequence[Found], config: DataConfig, seed: int) -> list[Split]:
    """Return the split of each case: the official one where that counts, else the one drawn for its patient."""
    if len(found) > 1 and len({case.patient for case in found}) == 1:
        log.warning("%s: all %d cases are of one patient, and so in one split; see `patient`", dataset.name, len(found))
    wanted = _official_counts(dataset, config)
    official = {case.patient: case.official_split for case in found if case.official_split and wanted}
    scans = Counter(case.patient for case in found if case.patient not in official)
    shares = shares_of(dataset, config)
    if dataset.cases_expected:
        drawn, how = draw_exact(dataset.name, scans, shares, seed), "a random split by patient"
    else:
        drawn = {patient: draw_by_hash(dataset.name, patient, shares, seed) for patient in scans}
        how = "a split by a hash of the patient"
    owner = f"the split of {dataset.split_of or 'the publisher'}"
    return [
        Split(case.official_split or official[case.patient], owner)
        if case.patient in official
        else Split(drawn[case.patient], f"{how}, seed {seed}")
        for case in found
    ]


def expected_sizes(dataset: Dataset, cases: int, config: DataConfig) -> dict[str, int]:
    """Return how many of a dataset's `cases` come into each split, where none is on disk yet."""
    shares = shares_of(dataset, config)
    if dataset.split_sizes and _official_counts(dataset, config):
        train, val, test = (size / sum(dataset.split_sizes) for size in dataset.split_sizes)
        shares = (train, val, test)
    return exact_sizes(cases, shares)


def shares_of(dataset: Dataset, config: DataConfig) -> tuple[float, float, float]:
    """Return the shares of train, val and test."""
    return config.downstream_split if dataset.role == "downstream" else config.split


def exact_sizes(cases: int, shares: tuple[float, float, float]) -> dict[str, int]:
    """Return how many cases each split has: of val and test the nearest whole number, half up, and train the rest."""
    test = int(cases * shares[2] + 0.5)
    val = min(int(cases * shares[1] + 0.5), cases - test)
    return {TRAIN: cases - val - test, VAL: val, TEST: test}


def draw_exact(dataset: str, scans: Mapping[str, int], shares: tuple[float, float, float], seed: int) -> dict[str, str]:
    """Return the split of each patient, so that the splits have the sizes of `exact_sizes`.

    Patients are taken in the order of their hashes, first for test, then for val, as long as all scans of a patient
    have room there.

    Choice: shares count scans, as the paper does, and scans that are quarantined later count too, so that the split of
    a dataset does not depend on which others there are.

    Args:
        dataset: name, so that datasets are drawn independently.
        scans: patient -> number of scans.
        shares: of train, val and test.
        seed: of the draw.
    """
    room = exact_sizes(sum(scans.values()), shares)
    split = {}
    for patient in sorted(scans, key=lambda patient: (hash_of(dataset, patient, str(seed)), patient)):
        split[patient] = next((name for name in (TEST, VAL) if scans[patient] <= room[name]), TRAIN)
        room[split[patient]] -= scans[patient]
    return split


def draw_by_hash(dataset: str, patient: str, shares: tuple[float, float, float], seed: int) -> str:
    """Return the split of a patient, whoever else there is."""
    position = hash_of(dataset, patient, str(seed)) / 2**64
    return TRAIN if position < shares[0] else VAL if position < shares[0] + shares[1] else TEST


def hash_of(*parts: str) -> int:
    """Return 64 bits that are the same on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")


def _official_counts(dataset: Dataset, config: DataConfig) -> bool:
    return bool(dataset.split_of) or config.split_by == "publisher"
