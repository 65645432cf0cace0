"""How many cases of each dataset were found, against how many there should be."""

from collections import Counter
from pathlib import Path
from typing import Any

from meddiff.datasets import REGISTRY
from meddiff.datasets.entry import SPLITS
from meddiff.datasets.fingerprints import THE_SAME_AS
from meddiff.datasets.index import Case
from meddiff.machine.tsv import write_tsv

COLUMNS = ("dataset", "region", "expected", "found", "missing", "surplus", "quarantined", *SPLITS)


def inventory(cases: list[Case]) -> list[dict[str, Any]]:
    """Return one row per dataset; `expected` is empty for one that the registry does not count."""
    return [_row([case for case in cases if case.dataset == name]) for name in dict.fromkeys(c.dataset for c in cases)]


def write_inventory(rows: list[dict[str, Any]], path: Path) -> None:
    write_tsv(rows, COLUMNS, path)


def in_words(row: dict[str, Any]) -> str:
    """Return one line for a row."""
    parts = [f"{row['dataset']}: {row['found']} cases"]
    if row["missing"]:
        parts.append(f"{row['missing']} fewer than the {row['expected']} expected")
    if row["surplus"]:
        parts.append(f"{row['surplus']} more than the {row['expected']} expected")
    if row["quarantined"]:
        parts.append(f"{row['quarantined']} quarantined")
    return ", ".join(parts)


def shortfalls(cases: list[Case]) -> list[str]:
    """Return a sentence for every dataset that is whole and in which fewer of its known duplicates were found."""
    found = Counter(case.dataset for case in cases)
    sentences = []
    for name, shared in ((name, REGISTRY[name].shares_scans_with) for name in found if name in REGISTRY):
        for other, known in shared.items():
            reason = f"{THE_SAME_AS}{other}_"
            marked = sum(case.dataset == name and case.quarantine.startswith(reason) for case in cases)
            whole = all(found[each] >= (REGISTRY[each].cases_expected or 0) for each in (name, other))
            if whole and marked < known:
                sentences.append(
                    f"{marked} of {known} known duplicates of {REGISTRY[other].title} found in {REGISTRY[name].title}: "
                    f"test scans of {REGISTRY[other].title} may be in the pretraining"
                )
    return sentences


def _row(cases: list[Case]) -> dict[str, Any]:
    first, found = cases[0], len(cases)
    expected = REGISTRY[first.dataset].cases_expected if first.dataset in REGISTRY else None
    return {
        "dataset": first.dataset,
        "region": first.region.value,
        "expected": expected or "",
        "found": found,
        "missing": max(expected - found, 0) if expected else 0,
        "surplus": max(found - expected, 0) if expected else 0,
        "quarantined": sum(bool(case.quarantine) for case in cases),
        **{split: sum(case.split == split for case in cases) for split in SPLITS},
    }
