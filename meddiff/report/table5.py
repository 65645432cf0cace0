"""Table 5: anomaly detection in lungs and livers."""

import pandas as pd

from meddiff.report.paper import TABLE_5, TABLE_5_METRICS
from meddiff.report.tables import ABSENT, MEASURED

METRICS = [*TABLE_5_METRICS, "organ_auc", "organ_ap", "found", "lesions", "false_positives"]
CAPTION = (
    "Table 5. Anomaly detection; the number in brackets is t. AUC, SPE, SEN and ACC count every voxel of the cropped "
    "scan, as the paper does; organ_auc and organ_ap (average precision) count the voxels of the organ. Lesions beyond "
    "the organ are left out, as in the paper, and so is whatever a method finds there. `intensity alone` is how "
    "bright a voxel is: only what a method gains over it counts. The paper's rows show the model the organ alone and "
    "count the size of the difference; `whole scan` shows it all, and `brighter only` counts what is brighter than "
    "expected. n counts test scans. Unlike the paper, which names no rule, SPE, SEN, ACC and the lesions found of "
    "these rows are those at the threshold with the largest sum of sensitivity and specificity within the organ on "
    "the validation scans: a lower one than the paper's values suggest. `fully supervised` is nnU-Net's own "
    "segmentation after training on the scans for training and validation; its AUC is that of its probabilities."
)


def table5(scores: pd.DataFrame, made_with: str) -> pd.DataFrame:
    """Return one row per dataset and method of the paper or of this run.

    Args:
        scores: a row per dataset and method.
        made_with: data and weights behind the numbers.
    """
    measured = [_row(row["dataset"], row["method"], row, made_with) for _, row in scores.iterrows()]
    known = {(row["dataset"], row["method"]) for row in measured}
    absent = [_row(*key, pd.Series(dtype=float), "") for key in TABLE_5 if key not in known]
    return pd.DataFrame([*absent, *measured])


def _row(dataset: str, method: str, scores: pd.Series, made_with: str) -> dict:
    paper = TABLE_5.get((dataset, method), (float("nan"),) * len(TABLE_5_METRICS))
    is_measured = len(scores) > 0 and scores["n"] > 0
    row = {"dataset": dataset, "method": method, "n": int(scores.get("n", 0))}
    row |= {metric: scores.get(metric, float("nan")) for metric in METRICS}
    row |= {f"{metric}_paper": value for metric, value in zip(TABLE_5_METRICS, paper, strict=True)}
    note = scores.get("note")  # on the cases that some method lacks
    return row | {
        "made_with": f"{made_with}{note if isinstance(note, str) else ''}" if is_measured else "",
        "status": MEASURED if is_measured else ABSENT,
    }
