"""The anatomy of one resampled scan: TotalSegmentator's labels and the body."""

from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from meddiff.anatomy.body import add_body, body_mask
from meddiff.anatomy.labels import BODY, OUTSIDE
from meddiff.anatomy.regions import bounding_box
from meddiff.errors import CaseError
from meddiff.volumes import volumes

if TYPE_CHECKING:
    from meddiff.anatomy.segmenter import Segmenter

BODY_BOX_MARGIN_MM = 12.0


def label_anatomy(ct: sitk.Image, segmenter: "Segmenter", body_threshold_hu: float) -> np.ndarray:
    """Return TotalSegmentator's labels with the body as id 118, uint8 `zyx`, of a resampled scan.

    Raises:
        CaseError: there is no body in it.
    """
    body_zyx = body_mask(volumes.to_zyx(ct), ct.GetSpacing()[0], body_threshold_hu)
    if not body_zyx.any():
        raise CaseError(f"no body above {body_threshold_hu:g} HU")
    return add_body(_segment_box(segmenter, ct, body_zyx), body_zyx)


def complete(given_zyx: np.ndarray, labels_zyx: np.ndarray) -> np.ndarray:
    """Return given structures with the rest of an anatomy around them; what else it calls like them is body."""
    named_like_them = np.isin(labels_zyx, np.setdiff1d(given_zyx, [OUTSIDE, BODY]))
    return np.where(np.isin(given_zyx, [OUTSIDE, BODY]), np.where(named_like_them, BODY, labels_zyx), given_zyx)


def _segment_box(segmenter: "Segmenter", ct: sitk.Image, body_zyx: np.ndarray) -> np.ndarray:
    """Return the labels of the box around the body; the air around it would cost time and teach nothing."""
    margin_vox = round(BODY_BOX_MARGIN_MM / ct.GetSpacing()[0])
    start, stop = bounding_box(body_zyx, margin_vox)
    labels_zyx = np.zeros(body_zyx.shape, np.uint8)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    labels_zyx[window] = segmenter.segment(volumes.crop(ct, start, stop))
    return labels_zyx
