"""Structures that cannot lie in a region, such as a liver in a head: their voxels take the label beside them."""

import numpy as np
from scipy import ndimage

from meddiff.anatomy.labels import CLASS_NAMES, LABEL_COUNT, ids
from meddiff.config import Region

_HEAD = ("brain", "skull")
_PELVIS = tuple(
    name
    for name in CLASS_NAMES
    if name.startswith(("hip_", "femur_", "gluteus_", "iliac_"))
    or name in ("sacrum", "vertebrae_S1", "urinary_bladder", "prostate")
)
_CHEST = tuple(
    name
    for name in CLASS_NAMES
    if name.startswith(("lung_", "pulmonary_", "atrial_"))
    or name in ("heart", "aorta", "superior_vena_cava", "inferior_vena_cava", "vertebrae_T10", "vertebrae_T11")
)
_ABDOMEN = tuple(
    name
    for name in CLASS_NAMES
    if name.startswith(("kidney_", "adrenal_", "iliopsoas_", "vertebrae_L", "portal_"))
    or name in ("spleen", "gallbladder", "liver", "stomach", "pancreas", "small_bowel", "duodenum", "colon")
    or name == "vertebrae_T12"
)
# Choice: only what no scan of the region can show; a chest shows the upper abdomen, an abdomen the lungs' bases.
MISPLACED = {
    Region.HAN: (*_CHEST, *_ABDOMEN, *_PELVIS),
    Region.CHEST: (*_HEAD, *_PELVIS, "vertebrae_L5"),
    Region.ABDOMEN: (*_HEAD, "trachea", "thyroid_gland", "clavicula_left", "clavicula_right"),
}


def replace_misplaced(labels_zyx: np.ndarray, region: Region, weights: str) -> np.ndarray:
    """Return the labels of a region with those of impossible structures replaced by the nearest possible label.

    The demo weights need it: they take the air beside a head for lungs, and part of a brain for liver. Nearest is meant
    in voxels, and outside of the body and the body itself are labels like others.

    Choice: labels of the official weights stay as they are; scans of the head and neck do show the lungs' apices.

    Args:
        labels_zyx: ids 0 to 118.
        region: what they show.
        weights: that they come from, `anatomy.weights`.
    """
    if weights != "demo":
        return labels_zyx
    impossible = np.zeros(LABEL_COUNT, bool)
    impossible[list(ids(*MISPLACED[region]))] = True
    wrong = impossible[labels_zyx]
    if not wrong.any() or wrong.all():
        return labels_zyx
    nearest = ndimage.distance_transform_edt(wrong, return_distances=False, return_indices=True)
    return labels_zyx[tuple(nearest)]
