"""Table 3: quality of the synthetic scans and how well they follow their anatomy; and the Dice organ by organ."""

import numpy as np
import pandas as pd

from meddiff.config import MODEL_REGIONS
from meddiff.metrics.distribution import distances, split_half
from meddiff.report.paper import TABLE_3, TABLE_3_METRICS
from meddiff.report.tables import ABSENT, MEASURED, bootstrap_interval

METRICS = list(TABLE_3_METRICS)
ORGAN_METRICS = ["dice", "ceiling"]
PER_CASE = ("ms_ssim", "lpips", "dice")
CAPTION = (
    "Table 3. Synthetic scans of held-out anatomy: MS-SSIM and LPIPS against the real scan with the same anatomy, FID "
    "and MMD (squared) of features, Dice of TotalSegmentator's labels with the anatomy. `real` is what a perfect model "
    "could reach: the Dice of the same judge on the scans themselves, and FID and MMD between two random halves of "
    "them, which for n scans is a little more than it would get, since FID falls with n. In brackets the 95 % "
    "bootstrap interval over scans; n counts scans."
)
ORGANS_CAPTION = (
    "How well synthetic scans follow their anatomy, organ by organ: Dice with the condition, and the ceiling, which "
    "is the same judge on the real scan."
)


def table3(
    metrics: dict[str, pd.DataFrame], features: dict[str, np.ndarray], draws: int, made_with: str
) -> pd.DataFrame:
    """Return one row per region and method, and the average over the regions.

    Args:
        metrics: method -> rows per scan; `real` is the ceiling.
        features: method -> (scans, tiles, C), in the order of the metrics.
        draws: bootstrap draws.
        made_with: data, weights and extractor behind the numbers.
    """
    methods = [*(name for name in metrics if name != "real"), "real"]
    rows = []
    for region in [region.value for region in MODEL_REGIONS]:
        for method in methods:
            table = metrics[method]
            chosen = (table["region"] == region).to_numpy()
            real_chosen = (metrics["real"]["region"] == region).to_numpy()
            row = _row(region, method, table[chosen], draws, made_with)
            if chosen.any():
                row |= _distances(method, features["real"][real_chosen], features[method][chosen])
            rows.append(row)
    regions = pd.DataFrame(rows)
    averages = [_average(regions[regions["method"] == m], m, features, made_with) for m in methods]
    table = pd.concat([regions, pd.DataFrame(averages)], ignore_index=True)
    ordered = ["region", "method", "n"]
    for metric in METRICS:
        ordered += [c for c in (metric, f"{metric}_lo", f"{metric}_hi", f"{metric}_paper") if c in table]
    return table[[*ordered, "made_with", "status"]]


def organ_table(metrics: dict[str, pd.DataFrame], draws: int, made_with: str) -> pd.DataFrame:
    """Return one row per region, method and structure: Dice, its interval, the ceiling, n and the judge."""
    rows = []
    for method, table in metrics.items():
        if method == "real":
            continue
        for region, group in table.groupby("region"):
            real = metrics["real"][metrics["real"]["region"] == region]
            for column in [c for c in group if c.startswith("dice_") and group[c].notna().any()]:
                low, high = bootstrap_interval(group[column].to_numpy(), draws)
                judge = "threshold" if column == "dice_body" else "TotalSegmentator"
                rows.append(
                    {
                        "region": region,
                        "structure": column.removeprefix("dice_"),
                        "method": method,
                        "judge": judge,
                        "n": int(group[column].notna().sum()),
                        "dice": group[column].mean(),
                        "dice_lo": low,
                        "dice_hi": high,
                        "ceiling": real[column].mean(),
                        "made_with": made_with,
                        "status": MEASURED,
                    }
                )
    columns = [
        "region",
        "structure",
        "method",
        "judge",
        "n",
        "dice",
        "dice_lo",
        "dice_hi",
        "ceiling",
        "made_with",
        "status",
    ]
    return pd.DataFrame(rows, columns=columns).sort_values(["region", "structure", "method"], ignore_index=True)


def _row(region: str, method: str, group: pd.DataFrame, draws: int, made_with: str) -> dict:
    row = {"region": region, "method": method, "n": len(group)} | {metric: float("nan") for metric in METRICS}
    for metric in PER_CASE:
        if metric in group and group[metric].notna().any():
            row[metric] = group[metric].mean()
            row[f"{metric}_lo"], row[f"{metric}_hi"] = bootstrap_interval(group[metric].to_numpy(), draws)
    row |= _paper(region, method)
    return row | {"made_with": made_with if len(group) else "", "status": MEASURED if len(group) else ABSENT}


def _average(regions: pd.DataFrame, method: str, features: dict[str, np.ndarray], made_with: str) -> dict:
    """Means over the regions that have scans; the FID is that of all scans pooled, as the paper's must be."""
    present = regions[regions["status"] == MEASURED]
    row = {"region": "average", "method": method, "n": int(present["n"].sum())}
    row |= {metric: present[metric].mean() if len(present) else float("nan") for metric in METRICS}
    if len(present):
        row["fid"] = _distances(method, features["real"], features[method])["fid"]
    row |= _paper("average", method)
    return row | {"made_with": made_with if len(present) else "", "status": MEASURED if len(present) else ABSENT}


def _distances(method: str, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Return FID and MMD of a model's scans, or their floor."""
    return split_half(real) if method == "real" else distances(real, fake)


def _paper(region: str, method: str) -> dict[str, float]:
    values = TABLE_3.get((region, method), (float("nan"),) * len(METRICS))
    return {f"{metric}_paper": value for metric, value in zip(METRICS, values, strict=True)}
