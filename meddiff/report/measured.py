"""What the tables are made of: the stages' metrics, of the cases that all methods of a table have."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from meddiff.config import DENOISERS, SUPER_RESOLVERS, Config
from meddiff.datasets.index import Case, read_manifest
from meddiff.metrics.common_cases import common_cases, common_ids
from meddiff.metrics.files import read_metrics
from meddiff.report.layout import Results, made_with, scans_and_anatomy


class Scores(NamedTuple):
    """Rows of each method, or of each dataset, and what to say of the cases that some method lacks."""

    rows: dict[str, pd.DataFrame]
    note: str


class Featured(NamedTuple):
    """The same with the feature vectors of each row."""

    rows: dict[str, pd.DataFrame]
    features: dict[str, np.ndarray]
    note: str


class Measured:
    """The metrics of a run, each read when a table first asks for it.

    Args:
        config: the sections of the stage `tables`.
        results: the output folder.
    """

    def __init__(self, config: Config, results: Results) -> None:
        self.config, self.results = config, results
        self.draws = config.evaluation.bootstrap_draws

    @cached_property
    def cases(self) -> list[Case]:
        return read_manifest(self.results.manifest)

    @cached_property
    def made_with(self) -> str:
        """Scans, anatomy and feature network behind the numbers."""
        return made_with(self.config, self.cases, self.results.extractor_source)

    @cached_property
    def source(self) -> str:
        """Scans and anatomy alone."""
        return scans_and_anatomy(self.config, self.cases)

    @cached_property
    def synthesis(self) -> Featured:
        """By model, and of the real scans."""
        methods = [*(variant.name for variant in self.config.models), "real"]
        scores = {name: pd.read_csv(self.results.metrics(name)) for name in methods}
        common = common_cases("Table 3", scores)
        features = {name: np.load(self.results.features(name))["features"] for name in methods}
        kept = {name: vectors[common.rows(scores[name])] for name, vectors in features.items()}
        return Featured(common.select(scores), kept, common.note)

    @cached_property
    def denoising(self) -> Scores:
        scores = {name: read_metrics(self.results.denoising_metrics(name)) for name in DENOISERS}
        common = common_cases("Table 4", scores)
        return Scores(common.select(scores), common.note)

    @cached_property
    def lesion_datasets(self) -> list[str]:
        return list(dict.fromkeys(case.dataset for case in self.cases if case.lesion))

    @cached_property
    def lesions(self) -> Featured:
        """By dataset."""
        scores, features, note = {}, {}, ""
        for name in self.lesion_datasets:
            path = self.results.lesion_metrics(name)
            rows, vectors = read_metrics(path), np.load(path.with_suffix(".npz"))["features"]
            groups = rows.groupby(["origin", "kind"]) if len(rows) else ()
            common = common_ids(f"Table 6, {name},", {" ".join(map(str, key)): group["id"] for key, group in groups})
            scores[name], features[name] = rows[common.rows(rows)], vectors[common.rows(rows)]
            note += common.note
        return Featured(scores, features, note)

    @cached_property
    def super_resolution(self) -> Scores:
        scores = {name: read_metrics(self.results.super_resolution_metrics(name)) for name in SUPER_RESOLVERS}
        common = common_cases("Super-resolution", scores)
        return Scores(common.select(scores), common.note)
