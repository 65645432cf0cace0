"""How a scan or a mask differs from what a model was trained for: said, and refused where it would spoil the result.

What can be told of a model is its spacing, and what the scans of its training look like (`scans` of its bundle).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from meddiff.anatomy.appearance import NAMES, Appearance, KnownScans, Range
from meddiff.anatomy.labels import LUNG, OUTSIDE, ids
from meddiff.config import Region
from meddiff.errors import CaseError
from meddiff.store.view import View
from meddiff.tasks.scan import Scan

COARSER, FINER = 2.0, 0.5  # Choice: times the model's voxels, beyond which a scan's own are told of
NOISIER = 1.5  # Choice: times the noise of the training, or its inverse
LEAST_HU = 25.0  # Choice: that a structure may lie beyond its range; a range wider than that: by its width
NEW_SHARE, MOST_NEW = 0.001, 0.1  # Choice: of the body, that new structures are told of, and refused
TOLD = 3  # structures in a line
# What a region is known by; where it lies in the first or last slice, the scan ends in it.
LANDMARKS = {Region.CHEST: LUNG, Region.ABDOMEN: ("liver",), Region.HAN: ("brain",)}

Known = Mapping[Region, KnownScans]

log = logging.getLogger(__name__)


class Misfit(NamedTuple):
    """What does not fit a model, and what that means; `spoils`: the result would be worse than the scan, or nothing."""

    text: str
    spoils: bool = False


def check_fit(found: Iterable[Misfit], anyway: bool = False) -> None:
    """Log a line for each misfit.

    Args:
        found: what does not fit.
        anyway: go on also where the result is spoilt.

    Raises:
        CaseError: it is.
    """
    for misfit in found:
        if misfit.spoils and not anyway:
            raise CaseError(f"{misfit.text}; --anyway goes on all the same")
        log.warning("%s", misfit.text)


def scan_misfits(scan: Scan, known: Known) -> Iterator[Misfit]:
    """Give what of a scan does not fit the model, whose scans are `known`; nothing where it fits."""
    yield from voxel_misfits(scan.source.GetSpacing(), scan.spacing_mm)
    yield from anatomy_misfits(scan.anatomy_zyx, scan.region, known)
    yield from look_misfits(scan, known)


def voxel_misfits(source_mm: Sequence[float], model_mm: float) -> Iterator[Misfit]:
    """Give what the size of a scan's voxels means for a model of isotropic ones."""
    if max(source_mm) > COARSER * model_mm:
        yield Misfit(
            f"voxels of {max(source_mm):.2g} mm are coarser than the model's {model_mm:.2g} mm: what it expects "
            "between them is interpolated"
        )
    if min(source_mm) < FINER * model_mm:
        yield Misfit(
            f"voxels of {min(source_mm):.2g} mm are finer than the model's {model_mm:.2g} mm: it does not see what is "
            "smaller"
        )


def thinning_misfits(source_mm: Sequence[float], model_mm: float) -> Iterator[Misfit]:
    """Give what speaks against thin slices of a scan.

    Choice: the result is worse than the scan where its voxels, the model's, are larger than the scan's.
    """
    if model_mm**3 > prod(source_mm):
        voxel = " x ".join(f"{side:.2g}" for side in source_mm)
        yield Misfit(
            f"voxels of {voxel} mm are smaller than the model's {model_mm:.2g} mm along each axis: the result would "
            "show less than the scan",
            spoils=True,
        )


def anatomy_misfits(anatomy_zyx: np.ndarray, region: Region, known: Known) -> Iterator[Misfit]:
    """Give what of a region's labels does not fit the region, or the model."""
    if known and region not in known:
        yield Misfit(f"no {region} was in the model's training, which knows {', '.join(known)}", spoils=True)
    landmark = LANDMARKS[region]
    shown = np.any(np.isin(anatomy_zyx, ids(*landmark)), axis=(1, 2))
    name = "lungs" if landmark == LUNG else landmark[0]
    if not shown.any():
        yield Misfit(f"no {name} in what was taken for the {region}: check the region and the anatomy", spoils=True)
    for end, cut in (("lower", shown[0]), ("upper", shown[-1])):
        if cut:
            yield Misfit(f"the scan ends within the {name} at its {end} end: near there the model knows no such scan")
    if region in known:
        yield from _new_structures(anatomy_zyx, known[region])


def look_misfits(view: View, known: Known) -> Iterator[Misfit]:
    """Give what of a region's HU and noise lies far from what the model has seen."""
    if view.region not in known:
        return
    seen, look = known[view.region], Appearance.of(view.hu_zyx, view.anatomy_zyx, view.spacing_mm, view.window)
    if far := beyond(look, seen):
        told = ", ".join(f"{n} {look.median_hu[n]:.0f} HU ({_words(seen.median_hu[n])})" for n in far[:TOLD])
        more = f" and {len(far) - TOLD} more" if len(far) > TOLD else ""
        yield Misfit(f"other HU than the model's training had, in brackets: {told}{more}; contrast agent, or disease?")
    if noise := other_noise(look, seen):
        yield Misfit(f"{noise} in the model's training: it draws the latter")


def other_noise(look: Appearance, seen: KnownScans) -> str | None:
    """Return in words that a region has far more or less noise than those of the training; None: it has not."""
    if not look.noise_hu or not seen.noise_hu:
        return None
    if seen.noise_hu[0] / NOISIER <= look.noise_hu <= seen.noise_hu[-1] * NOISIER:
        return None
    return f"noise of {look.noise_hu:.2g} HU, and {_words(seen.noise_hu)}"


def beyond(look: Appearance, seen: KnownScans) -> list[str]:
    """Return the structures whose HU lie beyond what may still be, the farthest first."""
    both = {name: _distance(hu, seen.median_hu[name]) for name, hu in look.median_hu.items() if name in seen.median_hu}
    return sorted((name for name in both if both[name] > 0), key=lambda name: -both[name])


def _new_structures(anatomy_zyx: np.ndarray, known: KnownScans) -> Iterator[Misfit]:
    counts = np.bincount(anatomy_zyx.ravel(), minlength=len(NAMES))
    counts[OUTSIDE] = 0
    shares = counts / max(1, counts.sum())
    new = [NAMES[i] for i in np.argsort(-shares) if shares[i] > NEW_SHARE and NAMES[i] not in known.median_hu]
    if new:
        share = sum(shares[NAMES.index(name)] for name in new)
        more = f" and {len(new) - TOLD} more" if len(new) > TOLD else ""
        yield Misfit(
            f"in no scan of the model's training: {', '.join(new[:TOLD])}{more} ({share:.1%} of the body)",
            spoils=bool(share > MOST_NEW),
        )


def _distance(hu: float, seen: Range) -> float:
    """Return by how many HU a value lies beyond what may still be, 0 where it does not."""
    low, _, high = seen
    return max(0.0, max(low - hu, hu - high) - max(LEAST_HU, high - low))


def _words(seen: Range) -> str:
    return f"{seen[0]:.3g} to {seen[-1]:.3g} HU"
