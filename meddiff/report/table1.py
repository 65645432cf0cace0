"""Table 1: the datasets, how many cases the paper used and how many were found and prepared here."""

from pathlib import Path

import pandas as pd

from meddiff.config import DataConfig, Region
from meddiff.data.datasets import REGISTRY, Dataset, resolve
from meddiff.data.index import Case
from meddiff.data.shards import DONE, QUARANTINED, Row, read_index
from meddiff.report.tables import ABSENT, MEASURED

METRICS = ["cases", "prepared", "quarantined", "regions"]
CAPTION = (
    "Table 1. CT datasets of the pretraining: cases found on disk and in the paper; n is the number prepared, the "
    "others were quarantined with a reason (see the report)."
)
TITLES = {
    Region.HAN: "Head and neck",
    Region.CHEST: "Chest",
    Region.ABDOMEN: "Abdomen",
    Region.WHOLE_BODY: "Whole body",
}


def table1(config: DataConfig, cases: list[Case], indices: dict[str, list[Path]]) -> pd.DataFrame:
    """Return one row per dataset of the paper or of this run, a sum per region and the total.

    Args:
        config: the datasets of this run.
        cases: the manifest.
        indices: stage name -> its shard indices; `store` must be among them.
    """
    bad = {row.id for rows in _rows(indices).values() for row in rows if row.status == QUARANTINED}
    stored = [row.id for row in _rows(indices)["store"] if row.status == DONE]
    listed = {entry.name: resolve(entry, Path()) for entry in config.datasets}
    datasets = {name: d for name, d in (REGISTRY | listed).items() if d.role == "pretraining"}
    rows = [
        _row(dataset, [c for c in cases if c.dataset == name], bad, stored)
        for name, dataset in datasets.items()
        if dataset.cases_paper or name in listed
    ]
    table = pd.DataFrame(rows)
    parts = []
    for region, title in TITLES.items():
        group = table[table["region"] == region.value]
        parts += [group, _sum(group, region.value, f"{title}, all")]
    return pd.concat([*parts, _sum(table, "all", "Total")], ignore_index=True)


def _rows(indices: dict[str, list[Path]]) -> dict[str, list[Row]]:
    return {stage: [row for path in paths for row in read_index(path)] for stage, paths in indices.items()}


def _row(dataset: Dataset, cases: list[Case], bad: set[str], stored: list[str]) -> dict:
    ids = {case.id for case in cases}
    regions = [name for name in stored if name.rsplit("_", 1)[0] in ids]
    prepared = len({name.rsplit("_", 1)[0] for name in regions})
    return {
        "region": dataset.region.value,
        "dataset": dataset.title,
        "n": prepared,
        "cases": len(cases) if cases else float("nan"),
        "cases_paper": dataset.cases_paper if dataset.cases_paper else float("nan"),
        "prepared": prepared if cases else float("nan"),
        "quarantined": len(ids & bad) if cases else float("nan"),
        "regions": len(regions) if cases else float("nan"),
        "made_with": {"demo": "demo data", "phantom": "phantoms"}.get(dataset.provider, "") if cases else "",
        "status": MEASURED if cases else ABSENT,
    }


def _sum(group: pd.DataFrame, region: str, title: str) -> pd.DataFrame:
    sums = {c: group[c].sum() for c in ("n", "cases", "cases_paper", "prepared", "quarantined", "regions")}
    status = MEASURED if (group["status"] == MEASURED).any() else ABSENT
    return pd.DataFrame([{"region": region, "dataset": title, **sums, "made_with": "", "status": status}])
