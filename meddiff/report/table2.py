"""Table 2: the datasets of the downstream tasks, how many cases the paper used and how many were found here."""

from pathlib import Path
from typing import Any

import pandas as pd

from meddiff.config import DataConfig
from meddiff.datasets import REGISTRY, Dataset, resolve
from meddiff.datasets.entry import SPLITS
from meddiff.datasets.index import Case
from meddiff.machine.files import read_json
from meddiff.machine.shards import sidecar
from meddiff.report.prepared import GAP, Prepared, case_of

METRICS = ["cases", "prepared", "quarantined", *SPLITS, "lesions"]
CAPTION = (
    "Table 2. CT datasets of the downstream tasks: cases found on disk and in the paper; n is the number prepared, of "
    "which train, val and test are the splits; lesions are connected components in the prepared regions. Without val, "
    "thresholds are chosen on train, which the pretraining never saw. Super-resolution is a task of the paper's third "
    "version."
)
DENOISING, DETECTION = "image denoising", "anomaly detection"
GENERATION, RESOLUTION = "lesion generation and inpainting", "super-resolution"


def table2(config: DataConfig, cases: list[Case], indices: dict[str, list[Path]]) -> pd.DataFrame:
    """Return one row per task and dataset of the paper or of this run.

    Args:
        config: the datasets of this run.
        cases: the manifest.
        indices: stage name -> its shard indices; `store` must be among them.
    """
    prepared = Prepared.from_indices(indices)
    listed = {entry.name: resolve(entry, Path()) for entry in config.datasets}
    known = {name: dataset for name, dataset in REGISTRY.items() if dataset.cases_expected}
    datasets = [dataset for dataset in (known | listed).values() if dataset.role == "downstream"]
    facts = {d.name: _facts(d, [c for c in cases if c.dataset == d.name], prepared) for d in datasets}
    return pd.DataFrame(
        [
            {"task": task, "dataset": dataset.title, **facts[dataset.name]}
            for task in (DENOISING, DETECTION, GENERATION, RESOLUTION)
            for dataset in datasets
            if task in _tasks(dataset)
        ]
    )


def _tasks(dataset: Dataset) -> list[str]:
    facts = {
        DENOISING: dataset.low_dose,
        DETECTION: dataset.lesion_organ,
        GENERATION: dataset.lesion,
        RESOLUTION: dataset.thick,
    }
    return [task for task, fact in facts.items() if fact]


def _facts(dataset: Dataset, cases: list[Case], prepared: Prepared) -> dict[str, Any]:
    regions = prepared.regions_of(cases)
    kept = {case_of(row) for row in regions}
    lesions = sum(read_json(sidecar(row.path))["details"]["lesions"] for row in regions)
    splits = {split: sum(case.id in kept and case.split == split for case in cases) for split in SPLITS}
    return prepared.counts(dataset, cases, **splits, lesions=lesions if dataset.lesion else GAP)
