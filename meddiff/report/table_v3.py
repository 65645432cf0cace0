"""Tables of the paper's third version: the ablation in four steps, and anomaly detection on BMAD's livers."""

import pandas as pd

from meddiff.report.paper import BMAD_LIVER, BMAD_METRICS, TABLE_3_V3, TABLE_3_V3_METRICS
from meddiff.report.tables import ABSENT, QUOTED

ABLATION_METRICS = list(TABLE_3_V3_METRICS)
ABLATION_CAPTION = (
    "Table III of v3: what several levels (`multi-level`), coordinates and their embedding (`meddiff-fm`) add to a "
    "DDPM on patches. The measured values are those of Table 3, FID of all regions pooled and the mean of the regions' "
    "Dice; v3's are taken from a summary of it, and differ from those of the first version. Of regions v3 gives the "
    "first and the last row. `ablation: full` trains the two rows between."
)
BMAD_METRIC_NAMES = list(BMAD_METRICS)
BMAD_CAPTION = (
    "Anomaly detection on the liver CT of BMAD, AUROC of images and of pixels and PRO (overlap by region): v3's value, "
    "taken from a summary of it, and those that the benchmark gives for other methods. None is measured here: the "
    "benchmark has single slices as pictures, without HU, spacing or neighbours, which a model of volumes at 1 mm does "
    "not take, and how v3 gives them to its model is not known here."
)


def ablation(third: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of v3's ablation; what was not trained here is absent.

    Args:
        third: Table 3.
    """
    rows = []
    for (region, method), values in TABLE_3_V3.items():
        ours = third[(third["region"] == region) & (third["method"] == method)]
        row = ours.iloc[0].to_dict() if len(ours) else {"n": 0, "made_with": "", "status": ABSENT}
        kept = {name: row[name] for name in ("n", "made_with", "status")} | {"region": region, "method": method}
        for metric, value in zip(ABLATION_METRICS, values, strict=True):
            for column in (metric, f"{metric}_lo", f"{metric}_hi"):
                kept[column] = row.get(column, float("nan"))
            kept[f"{metric}_paper"] = value
        rows.append(kept)
    columns = [f"{metric}{end}" for metric in ABLATION_METRICS for end in ("", "_lo", "_hi", "_paper")]
    return pd.DataFrame(rows)[["region", "method", "n", *columns, "made_with", "status"]]


def bmad_liver() -> pd.DataFrame:
    """Return the rows of BMAD's liver CT: v3's, which is absent here, and quoted ones."""
    rows = []
    for method, values in BMAD_LIVER.items():
        row = {"method": method, "n": 0} | {metric: float("nan") for metric in BMAD_METRICS}
        row |= {f"{metric}_paper": value for metric, value in zip(BMAD_METRICS, values, strict=True)}
        rows.append(row | {"made_with": "", "status": ABSENT if method == "meddiff-fm" else QUOTED})
    return pd.DataFrame(rows)
