"""A case on one picture: per region three planes in the region's window, with all boxes and the anatomy over them."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from meddiff.anatomy.labels import BODY, LABEL_COUNT, LUNG, OUTSIDE, ids
from meddiff.anatomy.regions import RegionBox
from meddiff.config import Region, Window, WindowsConfig
from meddiff.machine.files import temporary_beside

COLOURS = {Region.HAN: "#35d0ff", Region.CHEST: "#ffb000", Region.ABDOMEN: "#5dff6a"}
ORGANS = {Region.HAN: ids("brain"), Region.CHEST: ids(*LUNG), Region.ABDOMEN: ids("liver")}
WITHOUT_REGION = Window(level_hu=-100, width_hu=1400)
OVERLAY_OPACITY = 0.3
WIDTH_INCH, TITLE_INCH, DPI = 8.0, 0.3, 100

# Index axes (vertical, horizontal) of each plane, and the one that it cuts.
PLANES = {"axial": (1, 2, 0), "coronal": (0, 2, 1), "sagittal": (0, 1, 2)}


def draw_case(
    ct_zyx: np.ndarray,
    labels_zyx: np.ndarray | None,
    boxes: list[RegionBox],
    windows: WindowsConfig,
    title: str,
    path: Path,
) -> None:
    """Draw a row of planes per region, or one row of the whole scan where no region was found.

    Axial planes run through the middle of the region's organ, the others through the middle of the body.

    Args:
        ct_zyx: HU at an isotropic spacing, so that a voxel is a square on paper.
        labels_zyx: anatomy; None where there is none.
        boxes: the scan's regions.
        windows: HU windows of the regions.
        title: what stands above.
        path: the PNG.
    """
    size_z, size_y, size_x = ct_zyx.shape
    widths = (size_x, size_x, size_y)
    rows = max(1, len(boxes))
    row_inch = WIDTH_INCH * max(size_y, size_z) / sum(widths) + TITLE_INCH
    figure = Figure((WIDTH_INCH, rows * row_inch + TITLE_INCH), DPI, layout="constrained")
    grid = figure.subplots(rows, 3, squeeze=False, width_ratios=widths)
    body_zyx = labels_zyx > 0 if labels_zyx is not None else ct_zyx > WITHOUT_REGION.low_hu
    for axes, box in zip(grid, boxes or [None], strict=True):
        window = windows.for_region(box.region) if box else WITHOUT_REGION
        point = _point(labels_zyx, body_zyx, box)
        for axis, (vertical, horizontal, across) in zip(axes, PLANES.values(), strict=True):
            look: dict[str, Any] = {"origin": "upper" if across == 0 else "lower", "aspect": "equal"}
            gray = {"cmap": "gray", "vmin": window.low_hu, "vmax": window.high_hu}
            axis.imshow(np.take(ct_zyx, point[across], across), **gray, **look)
            if labels_zyx is not None:
                overlay = _overlay(np.take(labels_zyx, point[across], across))
                axis.imshow(overlay, interpolation="nearest", **look)
            for other in boxes:
                if other.start_zyx[across] <= point[across] < other.stop_zyx[across]:
                    axis.add_patch(_frame(other, vertical, horizontal, bold=other is box))
            axis.axis("off")
        axes[1].set_title(f"{box.region}: {box.evidence}" if box else "no region", fontsize=8)
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        figure.savefig(temporary)


def _point(labels_zyx: np.ndarray | None, body_zyx: np.ndarray, box: RegionBox | None) -> tuple[int, int, int]:
    """Return where the planes cross: in the region's organ along z, else in the middle of the body."""
    low, high = (box.start_zyx[0], box.stop_zyx[0]) if box else (0, len(body_zyx))
    organ = np.isin(labels_zyx[low:high], ORGANS[box.region]) if box and labels_zyx is not None else None
    z = _median(organ, 0) if organ is not None and organ.any() else (high - low) // 2
    return low + z, _median(body_zyx[low:high], 1), _median(body_zyx[low:high], 2)


def _median(mask: np.ndarray, axis: int) -> int:
    """Return the index along an axis with half of the mask on either side; the middle where the mask is empty."""
    counts = mask.sum(tuple(a for a in range(3) if a != axis)).cumsum()
    return int(np.searchsorted(counts, counts[-1] / 2)) if counts[-1] else mask.shape[axis] // 2


def _frame(box: RegionBox, vertical: int, horizontal: int, bold: bool) -> Rectangle:
    corner = (box.start_zyx[horizontal] - 0.5, box.start_zyx[vertical] - 0.5)
    size = [box.stop_zyx[axis] - box.start_zyx[axis] for axis in (horizontal, vertical)]
    style = {"linewidth": 1.6} if bold else {"linewidth": 0.8, "linestyle": "--"}
    return Rectangle(corner, *size, fill=False, edgecolor=COLOURS[box.region], **style)


def _overlay(labels_yx: np.ndarray) -> np.ndarray:
    """Return RGBA: a colour per structure, nothing outside the body and where it has no structure."""
    return _PALETTE[labels_yx]


def _palette() -> np.ndarray:
    """Return RGBA of every label; hues of ids that follow each other lie far apart."""
    from matplotlib.colors import hsv_to_rgb

    hues = np.arange(LABEL_COUNT) * 0.618034 % 1
    rgb = hsv_to_rgb(np.stack([hues, np.full(LABEL_COUNT, 0.9), np.ones(LABEL_COUNT)], 1))
    opacity = np.full((LABEL_COUNT, 1), OVERLAY_OPACITY)
    opacity[[OUTSIDE, BODY]] = 0
    return np.hstack([rgb, opacity])


_PALETTE = _palette()
