"""All tables, each declared here alone: the rules, the report and Snakemake's report go through this list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from meddiff.metrics.files import read_metrics
from meddiff.report import table1, table2, table3, table4, table5, table6, table_sr, table_v3
from meddiff.report.measured import Measured


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: of its files.
        title: in the report.
        number: in Snakemake's report, beside what it `shows`.
        caption: what the table shows and how it was made.
        metrics: its columns with values of the paper beside them.
        make: the table out of what was measured.
    """

    name: str
    title: str
    number: str
    shows: str
    caption: str
    metrics: Sequence[str]
    make: Callable[[Measured], pd.DataFrame]


def _first(run: Measured) -> pd.DataFrame:
    return table1.table1(run.config.data, run.cases, run.results.prepared)


def _second(run: Measured) -> pd.DataFrame:
    return table2.table2(run.config.data, run.cases, run.results.prepared)


def _third(run: Measured) -> pd.DataFrame:
    rows, features, note = run.synthesis
    return table3.table3(rows, features, run.draws, run.made_with + note)


def _organs(run: Measured) -> pd.DataFrame:
    return table3.organ_table(run.synthesis.rows, run.draws, run.made_with + run.synthesis.note)


def _ablation(run: Measured) -> pd.DataFrame:
    return table_v3.ablation(_third(run))


def _fourth(run: Measured) -> pd.DataFrame:
    return table4.table4(run.denoising.rows, run.draws, run.source + run.denoising.note)


def _fifth(run: Measured) -> pd.DataFrame:
    return table5.table5(read_metrics(run.results.anomaly_metrics), run.source)


def _bmad(run: Measured) -> pd.DataFrame:
    return table_v3.bmad_liver()


def _sixth(run: Measured) -> pd.DataFrame:
    rows, features, note = run.lesions
    return table6.table6(rows, features, run.draws, run.made_with + note)


def _augmentation(run: Measured) -> pd.DataFrame:
    studies = {name: read_metrics(run.results.augmentation_metrics(name)) for name in run.lesion_datasets}
    return table6.augmentation_table(studies, run.draws, run.source)


def _super_resolution(run: Measured) -> pd.DataFrame:
    rows, note = run.super_resolution
    return table_sr.table_sr(rows, run.config.super_resolution.factor, run.draws, run.source + note)


TABLES = (
    Table("table1", "Table 1", "1", "pretraining data", table1.CAPTION, table1.METRICS, _first),
    Table("table2", "Table 2", "2", "downstream data", table2.CAPTION, table2.METRICS, _second),
    Table("table3", "Table 3", "3", "synthetic scans", table3.CAPTION, table3.METRICS, _third),
    Table(
        "table3_organs",
        "Table 3, organ by organ",
        "3, organs",
        "synthetic scans by organ",
        table3.ORGANS_CAPTION,
        table3.ORGAN_METRICS,
        _organs,
    ),
    Table(
        "table3_ablation",
        "Ablation of v3",
        "III of v3",
        "ablation",
        table_v3.ABLATION_CAPTION,
        table_v3.ABLATION_METRICS,
        _ablation,
    ),
    Table("table4", "Table 4", "4", "denoising", table4.CAPTION, table4.METRICS, _fourth),
    Table("table5", "Table 5", "5", "anomaly detection", table5.CAPTION, table5.METRICS, _fifth),
    Table(
        "table5_bmad",
        "Anomalies in BMAD's livers, v3",
        "BMAD, v3",
        "anomalies in livers",
        table_v3.BMAD_CAPTION,
        table_v3.BMAD_METRIC_NAMES,
        _bmad,
    ),
    Table("table6", "Table 6", "6", "lesions", table6.CAPTION, table6.METRICS, _sixth),
    Table(
        "table6_augmentation",
        "Augmentation with generated lesions",
        "6, augmentation",
        "generated lesions in training",
        table6.AUGMENTATION_CAPTION,
        table6.AUGMENTATION_METRICS,
        _augmentation,
    ),
    Table(
        "table_sr",
        "Super-resolution",
        "super-resolution, v3",
        "super-resolution",
        table_sr.CAPTION,
        table_sr.METRICS,
        _super_resolution,
    ),
)
