"""A table as data and as text: CSV for programs, Markdown and LaTeX for people."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from meddiff.machine.files import write_text
from meddiff.metrics.conventions import HIGHER, LOWER, heading

MEASURED, QUOTED, ABSENT = "measured", "quoted", "absent"


def write_table(table: pd.DataFrame, metrics: Sequence[str], stem: Path, caption: str) -> None:
    """Write `stem`.csv with every column, and .md and .tex with each metric beside the paper's value.

    Args:
        table: keys, `n`, per metric `M`, and where there are `M_paper`, `M_lo`, `M_hi`; `made_with` and `status`.
        metrics: the metric columns, in order.
        stem: path without suffix.
        caption: what the table shows and how it was made.
    """
    write_text(table.to_csv(index=False, float_format="%.6g"), stem.with_suffix(".csv"))
    text = for_people(table, metrics)
    write_text(f"{caption}\n\n{text.to_markdown(index=False, disable_numparse=True)}\n", stem.with_suffix(".md"))
    latex = text.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    tex = latex.to_latex(hrules=True, caption=_escape(caption))
    write_text(tex.replace(HIGHER, r"$\uparrow$").replace(LOWER, r"$\downarrow$"), stem.with_suffix(".tex"))


def for_people(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the table as strings: `0.612 [0.601, 0.620]`, the paper's value in a column of its own, gaps as a dash.

    An arrow beside a metric's name says which way is better.
    """
    keys = [c for c in table.columns if not any(c == m or c.startswith(f"{m}_") for m in metrics)]
    leading = [c for c in keys if c not in ("made_with", "status")]
    text = table[leading].astype(str).copy()
    for metric in metrics:
        low, high = table.get(f"{metric}_lo"), table.get(f"{metric}_hi")
        columns = [c for c in (metric, f"{metric}_paper") if c in table]
        counts = (table[columns].stack().dropna() % 1 == 0).all()
        number = partial(_number, digits=0 if counts else 4)
        text[heading(metric)] = [
            number(value) + (f" [{number(low[i])}, {number(high[i])}]" if low is not None and pd.notna(low[i]) else "")
            for i, value in table[metric].items()
        ]
        if f"{metric}_paper" in table:
            text[f"{metric} (paper)"] = table[f"{metric}_paper"].map(number)
    for column in ("status", "made_with"):
        if column in table:
            text[column] = table[column].fillna("")
    return text


def bootstrap_interval(values: np.ndarray, draws: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean over cases; nan for fewer than two. The draws are seeded."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan"), float("nan")
    means = np.random.default_rng(0).choice(values, (draws, len(values))).mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _number(value: float, digits: int) -> str:
    return "-" if pd.isna(value) else f"{value:.{digits}f}"


def _escape(text: str) -> str:
    return text.replace("%", r"\%").replace("_", r"\_").replace("^", r"\^{}").replace("&", r"\&")
