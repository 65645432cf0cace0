"""Pictures: real and synthetic scans side by side, and the training curves."""

from pathlib import Path

import numpy as np
import pandas as pd

from meddiff.config import Window
from meddiff.data.store import Record
from meddiff.files import temporary_beside

PLANES = ("axial", "coronal", "sagittal")


def comparison(record: Record, synthetic: dict[str, np.ndarray], path: Path) -> None:
    """Draw anatomy, real scan and each model's synthetic twin: three middle planes, in the region's window."""
    plt = _pyplot()
    columns = {"anatomy (condition)": record.anatomy[:], "real": record.ct[:], **synthetic}
    heights = [_slices(record.ct[:])[plane].shape[0] for plane in PLANES]
    figure, axes = plt.subplots(
        3, len(columns), figsize=(2.6 * len(columns), 2.6 * sum(heights) / max(record.ct.shape[2], 1)),
        gridspec_kw={"height_ratios": heights}, squeeze=False,
    )  # fmt: skip
    for column, (title, volume) in enumerate(columns.items()):
        for row, plane in enumerate(PLANES):
            axis = axes[row][column]
            axis.imshow(_slices(volume)[plane], **_look(title, record.meta.window))
            axis.axis("off")
            if row == 0:
                axis.set_title(title, fontsize=9)
    _save(figure, path)


def training_curves(stats: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw the loss of every model over its steps, and the mean of its validation losses."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(6, 3))
    for name, rows in stats.items():
        training = rows.dropna(subset="loss")
        (line,) = axis.plot(training["step"], training["loss"], marker=".", label=name)
        validation = rows.filter(like="validation/").mean(axis=1).dropna()
        if len(validation):
            steps = rows.loc[validation.index, "step"]
            axis.plot(steps, validation, "--", marker="x", color=line.get_color(), label=f"{name}, validation")
    axis.set(xlabel="step", ylabel="loss (L1)")
    axis.legend(frameon=False)
    _save(figure, path)


def _slices(volume_zyx: np.ndarray) -> dict[str, np.ndarray]:
    """Return the middle planes as a radiologist sees them: patient's right on the left, head up."""
    z, y, x = (n // 2 for n in volume_zyx.shape)
    return {"axial": volume_zyx[z], "coronal": volume_zyx[::-1, y], "sagittal": volume_zyx[::-1, :, x]}


def _look(title: str, window: Window) -> dict:
    if title.startswith("anatomy"):
        return {"cmap": "nipy_spectral", "vmin": 0, "vmax": 118, "interpolation": "nearest"}
    return {"cmap": "gray", "vmin": window.low_hu, "vmax": window.high_hu}


def _pyplot():  # noqa: ANN202
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure, path: Path) -> None:  # noqa: ANN001
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight")
    _pyplot().close(figure)
