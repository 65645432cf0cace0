"""Table 6: generated and inpainted lesions, and what generated ones are worth for training."""

import numpy as np
import pandas as pd

from meddiff.config import GENERATED, INPAINTED, ORIGINS, REAL
from meddiff.metrics.distribution import distances, split_half
from meddiff.report.paper import TABLE_6, TABLE_6_METRICS
from meddiff.report.tables import ABSENT, MEASURED, bootstrap_interval

METRICS = list(TABLE_6_METRICS)
PER_LESION = {"ms_ssim": GENERATED, "lpips": GENERATED, "dice": GENERATED, "inpainting_dice": INPAINTED}
CAPTION = (
    "Table 6. Lesions of the test patients. Generation: MS-SSIM and LPIPS against the real patch with the same anatomy "
    "and lesion mask, FID and MMD of features, Dice of nnU-Net's segmentation with the mask. Inpainting: Dice of the "
    "real patch with the lesion drawn anew. nnU-Net was trained on the real scans of all but the test patients; `real` "
    "is its Dice on the real patches, and FID and MMD between random halves of them. In brackets the 95 % bootstrap "
    "interval over lesions; n counts lesions, patients their patients. The paper does not say which lesions it judges "
    "and how its patches lie; here they are the largest of each patient, in the middle of a patch as in training."
)
AUGMENTATION_METRICS = ["dice"]
AUGMENTATION_CAPTION = (
    "What generated lesions are worth: Dice on the test patients of an nnU-Net that was trained on the real lesions of "
    "all others, and of one that was trained on these and generated ones, for as many steps. n counts test "
    "scans, the other columns training images."
)


def table6(
    scores: dict[str, pd.DataFrame], features: dict[str, np.ndarray], draws: int, made_with: str
) -> pd.DataFrame:
    """Return three rows for each dataset of the paper or of this run: real, from scratch, fine-tuned.

    Args:
        scores: dataset -> rows per patch.
        features: dataset -> (patches, tiles, C), in the order of the scores.
        draws: bootstrap draws.
        made_with: data and weights behind the numbers.
    """
    datasets = [*dict.fromkeys(dataset for dataset, _ in TABLE_6), *scores]
    rows = []
    for dataset in dict.fromkeys(datasets):
        for origin in (REAL, *ORIGINS):
            table = scores.get(dataset, pd.DataFrame())
            own = table[table["origin"] == origin] if len(table) else table
            row = _row(dataset, origin, own, draws, made_with)
            if len(own):
                row |= _distances(table, features[dataset], origin)
            rows.append(row)
    ordered = ["dataset", "method", "n", "patients"]
    table = pd.DataFrame(rows)
    for metric in METRICS:
        ordered += [c for c in (metric, f"{metric}_lo", f"{metric}_hi", f"{metric}_paper") if c in table]
    return table[[*ordered, "made_with", "status"]]


def augmentation_table(scores: dict[str, pd.DataFrame], draws: int, made_with: str) -> pd.DataFrame:
    """Return one row per dataset and kind of training; the paper has no such numbers."""
    columns = ["dataset", "training", "n", "real", "generated", "dice", "dice_lo", "dice_hi", "made_with", "status"]
    rows = []
    for dataset, table in scores.items():
        for training, group in table.groupby("training") if len(table) else ():
            interval = bootstrap_interval(group["dice"].to_numpy(), draws)
            counts = (len(group), group["real"].iloc[0], group["generated"].iloc[0])
            rows.append([dataset, training, *counts, group["dice"].mean(), *interval, made_with, MEASURED])
    return pd.DataFrame(rows, columns=columns)


def _row(dataset: str, origin: str, scores: pd.DataFrame, draws: int, made_with: str) -> dict:
    measured = len(scores) > 0
    row = {"dataset": dataset, "method": origin, "n": scores["id"].nunique() if measured else 0}
    row |= {"patients": scores["patient"].nunique() if measured else 0}
    row |= {metric: float("nan") for metric in METRICS}
    for metric, kind in PER_LESION.items():
        wanted = REAL if origin == REAL else kind
        column = "dice" if metric.endswith("dice") else metric
        if not measured or column not in scores or (origin == REAL and column != "dice"):
            continue
        values = scores.loc[scores["kind"] == wanted, column].to_numpy(float)
        if not np.isnan(values).all():
            row[metric] = np.nanmean(values)
            row[f"{metric}_lo"], row[f"{metric}_hi"] = bootstrap_interval(values, draws)
    paper = TABLE_6.get((dataset, origin), (float("nan"),) * len(METRICS))
    row |= {f"{metric}_paper": value for metric, value in zip(METRICS, paper, strict=True)}
    return row | {"made_with": made_with if measured else "", "status": MEASURED if measured else ABSENT}


def _distances(scores: pd.DataFrame, features: np.ndarray, origin: str) -> dict[str, float]:
    """Return FID and MMD of the generated patches to the real ones, or of the halves of these."""
    real = features[(scores["kind"] == REAL).to_numpy()]
    if origin == REAL:
        return split_half(real)
    fake = features[((scores["origin"] == origin) & (scores["kind"] == GENERATED)).to_numpy()]
    if not len(real) or not len(fake):
        return {}
    return distances(real, fake)
