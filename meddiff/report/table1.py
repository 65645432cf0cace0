"""Table 1: the datasets, how many cases the paper used and how many were found and prepared here."""

from pathlib import Path

import pandas as pd

from meddiff.config import DataConfig, Region
from meddiff.datasets import REGISTRY, Dataset, resolve
from meddiff.datasets.index import Case
from meddiff.report.prepared import Prepared
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
    prepared = Prepared.from_indices(indices)
    listed = {entry.name: resolve(entry, Path()) for entry in config.datasets}
    datasets = {name: d for name, d in (REGISTRY | listed).items() if d.role == "pretraining"}
    rows = [
        _row(dataset, [c for c in cases if c.dataset == name], prepared)
        for name, dataset in datasets.items()
        if dataset.cases_paper or name in listed
    ]
    table = pd.DataFrame(rows)
    parts = []
    for region, title in TITLES.items():
        group = table[table["region"] == region.value]
        parts += [group, _sum(group, region.value, f"{title}, all")]
    return pd.concat([*parts, _sum(table, "all", "Total")], ignore_index=True)


def _row(dataset: Dataset, cases: list[Case], prepared: Prepared) -> dict:
    counts = prepared.counts(dataset, cases, regions=len(prepared.regions_of(cases)))
    return {"region": dataset.region.value, "dataset": dataset.title, **counts}


def _sum(group: pd.DataFrame, region: str, title: str) -> pd.DataFrame:
    sums = {c: group[c].sum() for c in ("n", "cases", "cases_paper", "prepared", "quarantined", "regions")}
    status = MEASURED if (group["status"] == MEASURED).any() else ABSENT
    return pd.DataFrame([{"region": region, "dataset": title, **sums, "made_with": "", "status": status}])
