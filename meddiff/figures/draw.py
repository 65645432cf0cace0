"""Pictures: real and synthetic scans side by side, and the training curves."""

from pathlib import Path

import numpy as np
import pandas as pd

from meddiff.config import Window
from meddiff.machine.files import temporary_beside
from meddiff.metrics.fidelity import SCORING_WINDOW
from meddiff.store.record import Record

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


def denoised(clean_zyx: np.ndarray, images: dict[str, np.ndarray], path: Path) -> None:
    """Draw Fig. 6: the middle axial slice of each image, and below it its difference to the clean one.

    Args:
        clean_zyx: the normal-dose scan, HU.
        images: the noisy scan and every method's result, by name.
        path: the file.
    """
    plt = _pyplot()
    columns = {"normal dose": clean_zyx, **images}
    z = len(clean_zyx) // 2
    figure, axes = plt.subplots(2, len(columns), figsize=(2.2 * len(columns), 4.2), squeeze=False)
    look = {"vmin": SCORING_WINDOW.low_hu, "vmax": SCORING_WINDOW.high_hu}
    for (above, below), (title, volume) in zip(axes.T, columns.items(), strict=True):
        above.imshow(volume[z], cmap="gray", **look)
        above.set_title(title, fontsize=7)
        below.imshow(volume[z].astype(float) - clean_zyx[z], cmap="RdBu_r", vmin=-100, vmax=100)
        for axis in (above, below):
            axis.axis("off")
    _save(figure, path)


def anomaly(
    hu_zyx: np.ndarray,
    map_hu_zyx: np.ndarray,
    found_zyx: np.ndarray,
    lesion_zyx: np.ndarray,
    window: Window,
    path: Path,
) -> None:
    """Draw Fig. 7: scan, reconstruction, map, what is found and the truth, in the slice with the largest lesion."""
    plt = _pyplot()
    z = int(lesion_zyx.sum((1, 2)).argmax())
    gray = {"cmap": "gray", "vmin": window.low_hu, "vmax": window.high_hu}
    mask = {"cmap": "gray", "vmin": 0, "vmax": 1}
    columns = {
        "scan": (hu_zyx, gray),
        "reconstruction": (hu_zyx - map_hu_zyx, gray),
        "map": (map_hu_zyx, {"cmap": "RdBu_r", "vmin": -window.width_hu / 4, "vmax": window.width_hu / 4}),
        "found": (found_zyx, mask),
        "lesion": (lesion_zyx, mask),
    }
    figure, axes = plt.subplots(1, len(columns), figsize=(2.4 * len(columns), 2.4))
    for axis, (title, (volume, look)) in zip(axes, columns.items(), strict=True):
        axis.imshow(volume[z], **look)
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    _save(figure, path)


def lesions(images: dict[str, np.ndarray], lesion_zyx: np.ndarray, window: Window, path: Path) -> None:
    """Draw Fig. 8 or 9: the axial slice with the largest lesion of every image, and below it the mask's outline.

    Args:
        images: the real patch and every model's, HU, by name.
        lesion_zyx: the mask, bool.
        window: the region's HU window.
        path: the file.
    """
    plt = _pyplot()
    z = int(lesion_zyx.sum((1, 2)).argmax())
    figure, axes = plt.subplots(2, len(images), figsize=(2.2 * len(images), 4.6), squeeze=False, layout="constrained")
    for (above, below), (title, volume) in zip(axes.T, images.items(), strict=True):
        for axis in (above, below):
            axis.imshow(volume[z], cmap="gray", vmin=window.low_hu, vmax=window.high_hu)
            axis.axis("off")
        below.contour(lesion_zyx[z].astype(float), [0.5], colors="tab:red", linewidths=1)
        above.set_title(title, fontsize=8)
    _save(figure, path)


def thin_slices(images: dict[str, np.ndarray], window: Window, path: Path) -> None:
    """Draw the middle coronal plane of the true thin slices and of every method's, and the differences below.

    Args:
        images: HU by name, the true one first.
        window: the region's HU window.
        path: the file.
    """
    plt = _pyplot()
    truth = next(iter(images.values()))
    y = truth.shape[1] // 2
    height = 2.4 * truth.shape[0] / truth.shape[2]
    size = (2.4 * len(images), 2 * height + 0.4)
    figure, axes = plt.subplots(2, len(images), figsize=size, squeeze=False, layout="constrained")
    for (above, below), (title, volume) in zip(axes.T, images.items(), strict=True):
        above.imshow(volume[::-1, y], cmap="gray", vmin=window.low_hu, vmax=window.high_hu)
        difference = volume[::-1, y].astype(float) - truth[::-1, y]
        below.imshow(difference, cmap="RdBu_r", vmin=-window.width_hu / 4, vmax=window.width_hu / 4)
        above.set_title(title, fontsize=8)
        for axis in (above, below):
            axis.axis("off")
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
