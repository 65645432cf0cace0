"""The 118th class: the body, by a threshold (section 4.1)."""

import numpy as np
from scipy import ndimage

from meddiff.anatomy.labels import BODY

TABLE_THICKNESS_MM = 12.0


def body_mask(ct_zyx: np.ndarray, spacing_mm: float, threshold_hu: float) -> np.ndarray:
    """Return the boolean body: the largest component above the threshold, without table, holes filled slice-wise.

    Choice: holes are filled first, so that a thin chest wall survives; an in-plane opening then cuts the bridges
    between body and table, and what it took from the body itself (ears, skin folds) is given back.
    """
    solid = np.stack([ndimage.binary_fill_holes(plane) for plane in ct_zyx > threshold_hu])
    radius_vox = max(1, round(TABLE_THICKNESS_MM / 2 / spacing_mm))
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), radius_vox)[None]
    opened = ndimage.binary_opening(solid, disc)
    core = _largest_component(opened if opened.any() else solid)
    return ndimage.binary_dilation(core, disc) & solid


def add_body(labels_zyx: np.ndarray, body_zyx: np.ndarray) -> np.ndarray:
    """Return the label map with the rest of the body as id 118."""
    return np.where((labels_zyx == 0) & body_zyx, BODY, labels_zyx).astype(np.uint8)


def _largest_component(mask_zyx: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask_zyx)
    if count <= 1:
        return mask_zyx
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
