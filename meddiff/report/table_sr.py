"""The table of super-resolution (v3, of which no numbers are known)."""

import pandas as pd

from meddiff.config import SUPER_RESOLVERS
from meddiff.report.tables import ABSENT, MEASURED, bootstrap_interval

METRICS = ["psnr", "ssim"]
MEASURED_SLICES, SIMULATED_SLICES = "rplhr-ct", "simulated"  # by what the thick slices are
CAPTION = (
    "Super-resolution along z: PSNR of the volume and SSIM of its axial slices by RPLHR-CT's protocol, in the region's "
    "HU window. `diffpir` is v3's method, `controlnet` the same model without it. n counts test regions. v3 is "
    "tested on RPLHR-CT, whose thick slices are measured, and so are those of its own training split that the "
    "ControlNet learns from; without that dataset both are the means of thin ones, which is an easier task. The values "
    "of v3 are not known here."
)


def table_sr(scores: dict[str, pd.DataFrame], factor: int, draws: int, made_with: str) -> pd.DataFrame:
    """Return one row per method on RPLHR-CT, and where it is absent on what stands in for it.

    Args:
        scores: method -> rows per region.
        factor: thin slices in a thick one.
        draws: bootstrap draws.
        made_with: data and weights behind the numbers.
    """
    of_kind = {True: {}, False: {}}
    for name in SUPER_RESOLVERS:
        for simulated, rows in of_kind.items():
            own = scores[name]
            rows[name] = own[own["simulated"] == simulated] if len(own) else own
    kinds = {MEASURED_SLICES: of_kind[False]}
    if any(map(len, of_kind[True].values())) or not any(map(len, of_kind[False].values())):
        kinds[SIMULATED_SLICES] = of_kind[True]
    return pd.DataFrame(
        [_row(kind, name, rows[name], factor, draws, made_with) for kind, rows in kinds.items() for name in rows]
    )


def _row(kind: str, method: str, scores: pd.DataFrame, factor: int, draws: int, made_with: str) -> dict:
    measured = len(scores) > 0
    row = {"data": kind, "method": method, "factor": factor, "n": len(scores)}
    for metric in METRICS:
        row[metric] = scores[metric].mean() if measured else float("nan")
        bounds = bootstrap_interval(scores[metric].to_numpy(), draws) if measured else (float("nan"),) * 2
        row[f"{metric}_lo"], row[f"{metric}_hi"] = bounds
    words = "simulated thick slices" if kind == SIMULATED_SLICES else "measured thick slices"
    if "learned_from" in scores and scores["learned_from"].notna().any():
        words += f", learned from {scores['learned_from'].iloc[0]} ones"
    note = f"{words}; {made_with}" if measured else ""
    return row | {"made_with": note, "status": MEASURED if measured else ABSENT}
