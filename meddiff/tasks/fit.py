"""How a scan differs from what a model was trained for, said before the model's result is taken for more than it is."""

import logging

import numpy as np

from meddiff.anatomy.labels import LUNG, ids
from meddiff.config import Region
from meddiff.tasks.scan import Scan

COARSER, FINER = 2.0, 0.5  # Choice: times the model's voxels, beyond which a scan's own are told of
# What a region is known by; where it lies in the first or last slice, the scan ends in it.
LANDMARKS = {Region.CHEST: LUNG, Region.ABDOMEN: ("liver",), Region.HAN: ("brain",)}

log = logging.getLogger(__name__)


def tell_misfits(scan: Scan) -> None:
    """Log a line for each thing of `misfits`."""
    for misfit in misfits(scan):
        log.warning("%s", misfit)


def misfits(scan: Scan) -> list[str]:
    """Return what of a scan does not fit the model, each with what that means; empty where it fits."""
    found = []
    coarsest, finest = max(scan.source.GetSpacing()), min(scan.source.GetSpacing())
    model_mm = scan.spacing_mm
    if coarsest > COARSER * model_mm:
        found.append(
            f"voxels of {coarsest:.2g} mm are coarser than the model's {model_mm:.2g} mm: what it expects between them "
            "is interpolated"
        )
    if finest < FINER * model_mm:
        found.append(
            f"voxels of {finest:.2g} mm are finer than the model's {model_mm:.2g} mm: it does not see what is smaller"
        )
    landmark = LANDMARKS[scan.region]
    shown = np.any(np.isin(scan.anatomy_zyx, ids(*landmark)), axis=(1, 2))
    name = "lungs" if landmark == LUNG else landmark[0]
    for end, cut in (("lower", shown[0]), ("upper", shown[-1])):
        if cut:
            found.append(f"the scan ends within the {name} at its {end} end: near there the model knows no such scan")
    if not shown.any():
        found.append(f"no {name} in what was taken for the {scan.region}: check the region and the anatomy")
    return found
