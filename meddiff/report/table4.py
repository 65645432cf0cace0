"""Table 4: denoising of low-dose scans."""

import pandas as pd

from meddiff.config import DENOISERS
from meddiff.report.paper import TABLE_4, TABLE_4_METRICS
from meddiff.report.tables import ABSENT, MEASURED, QUOTED, bootstrap_interval

METRICS = [*TABLE_4_METRICS, "ssim_range1"]
CAPTION = (
    "Table 4. Denoising of low-dose scans in [-160, 240] HU: SSIM and PSNR per axial slice as Noise2Sim scores, on the "
    "slices as they were reconstructed and with their whole field of view, and with a data range of 2 for SSIM; "
    "ssim_range1 has the proper range of 1. Simulated low dose has the slices of the crop store instead. "
    "`meddiff-fm-reverse` is the paper's method. `nlm` (non-local means) and `wiener` measure the noise in each scan; "
    "so does `meddiff-fm-guided`, the latter filter with the model (docs/denoising.md). The model is told the anatomy "
    "of the noisy scan, and in its other rows the noise, sigma at the model's spacing, measured on other scans than "
    "these, as were the strength of a filter and the share of the detail that is kept of what only the scan's own "
    "grid shows. In those rows voxels outside of the region's window by more than three sigma keep their noise; the "
    "model sees those nearer as the window's end. The paper names "
    "neither grid, nor sigma, nor how regions are chosen; here each slice is of the region that the scan shows there. "
    "Differences in rows: RED-CNN and MAP-NN were trained here on the training pairs, Noise2Sim on their noisy scans; "
    "the passes of MAP-NN were chosen as the strength of a filter."
)
NOTES = {"bm3d": "the licence of its library allows non-commercial use only"}


def table4(scores: dict[str, pd.DataFrame], draws: int, made_with: str) -> pd.DataFrame:
    """Return one row per method of the paper or of this run.

    Args:
        scores: method -> rows per scan.
        draws: bootstrap draws.
        made_with: data and weights behind the numbers.
    """
    methods = [*DENOISERS, *(name for name in TABLE_4 if name not in DENOISERS)]
    return pd.DataFrame([_row(name, scores.get(name, pd.DataFrame()), draws, made_with) for name in methods])


def _row(method: str, scores: pd.DataFrame, draws: int, made_with: str) -> dict:
    paper = dict(zip(TABLE_4_METRICS, TABLE_4.get(method, (float("nan"),) * len(TABLE_4_METRICS)), strict=True))
    measured = len(scores) > 0
    row = {"method": method, "n": len(scores)}
    for metric in METRICS:
        row[metric] = scores[metric].mean() if measured else float("nan")
        bounds = bootstrap_interval(scores[metric].to_numpy(), draws) if measured else (float("nan"),) * 2
        row[f"{metric}_lo"], row[f"{metric}_hi"] = bounds
        if metric in paper:
            row[f"{metric}_paper"] = paper[metric]
    note = ""
    if measured:
        kind = "simulated low dose" if scores["simulated"].all() else "measured low dose"
        told = f"; sigma {scores['sigma_hu'].iloc[0]:.1f} HU" if "sigma_hu" in scores else ""
        told += f", detail kept {scores['detail'].iloc[0]:.2f}" if "detail" in scores else ""
        told += f"; {scores['depth'].iloc[0]:.0f} passes" if "depth" in scores else ""
        told += f"; {NOTES[method]}" if method in NOTES else ""
        note = f"{kind}; {made_with}{told}"
    return row | {"made_with": note, "status": MEASURED if measured else QUOTED if method in TABLE_4 else ABSENT}
