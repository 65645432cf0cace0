"""The table of super-resolution (v3, which prints no numbers for it)."""

import pandas as pd

from meddiff.config import SUPER_RESOLVERS
from meddiff.report.tables import ABSENT, MEASURED, bootstrap_interval

METRICS = ["psnr", "ssim"]
CAPTION = (
    "Super-resolution along z: PSNR of the volume and SSIM of its axial slices by RPLHR-CT's protocol, in the region's "
    "HU window. `diffpir` is v3's method, `controlnet` the same model without it. n counts test regions."
)


def table_sr(scores: dict[str, pd.DataFrame], factor: int, draws: int, made_with: str) -> pd.DataFrame:
    """Return one row per method.

    Args:
        scores: method -> rows per region.
        factor: thin slices in a thick one.
        draws: bootstrap draws.
        made_with: data and weights behind the numbers.
    """
    return pd.DataFrame([_row(name, scores[name], factor, draws, made_with) for name in SUPER_RESOLVERS])


def _row(method: str, scores: pd.DataFrame, factor: int, draws: int, made_with: str) -> dict:
    measured = len(scores) > 0
    row = {"method": method, "factor": factor, "n": len(scores)}
    for metric in METRICS:
        row[metric] = scores[metric].mean() if measured else float("nan")
        bounds = bootstrap_interval(scores[metric].to_numpy(), draws) if measured else (float("nan"),) * 2
        row[f"{metric}_lo"], row[f"{metric}_hi"] = bounds
    kind = ("simulated" if scores["simulated"].all() else "measured") if measured else ""
    note = f"{kind} thick slices; {made_with}" if measured else ""
    return row | {"made_with": note, "status": MEASURED if measured else ABSENT}
