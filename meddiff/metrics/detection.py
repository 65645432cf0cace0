"""How well an anomaly map finds lesions: voxel by voxel over all cases, and lesion by lesion in one."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

BINS = 65_536
NEGATIVE, POSITIVE = 0, 1


class Rates(NamedTuple):
    """Specificity, sensitivity and accuracy at a threshold, in [0, 1]; nan without any voxel of that kind."""

    spe: float
    sen: float
    acc: float


class VoxelScores:
    """Histograms of the scores of normal and abnormal voxels, which say all that AUC and the like need.

    Voxels are counted, not kept, so memory stays the same for any number of cases. Scores within one of the 65,536
    bins count as equal, which moves AUC by at most half the share of pairs, one normal and one abnormal, in one bin.

    Args:
        highest: scores lie in [0, highest]; those outside are counted in the first or last bin.
    """

    def __init__(self, highest: float = 2.0) -> None:
        self.highest = highest
        self.counts = np.zeros((2, BINS), np.int64)  # of normal voxels, of abnormal ones

    @property
    def bin_width(self) -> float:
        return self.highest / BINS

    def add(self, score_zyx: np.ndarray, truth_zyx: np.ndarray, mask_zyx: np.ndarray | None = None) -> None:
        """Count a case.

        Args:
            score_zyx: the anomaly map; higher is more abnormal.
            truth_zyx: where it is abnormal, bool.
            mask_zyx: the voxels that count, bool; None is all.

        Raises:
            ValueError: the shapes differ, or a score is not a number.
        """
        counted_zyx = np.broadcast_to(True, score_zyx.shape) if mask_zyx is None else mask_zyx
        if not score_zyx.shape == truth_zyx.shape == counted_zyx.shape:
            raise ValueError(f"shapes differ: {score_zyx.shape}, {truth_zyx.shape}, {counted_zyx.shape}")
        counts = np.zeros_like(self.counts)
        # Plane by plane, so that the indices take little memory.
        for score_yx, truth_yx, counted_yx in zip(score_zyx, truth_zyx, counted_zyx, strict=True):
            scores, truth = score_yx[counted_yx], truth_yx[counted_yx]
            if np.isnan(scores).any():
                raise ValueError("a score is not a number")
            bins = np.clip(scores / self.bin_width, 0, BINS - 1).astype(np.int64)
            counts += np.bincount(bins + BINS * (truth > 0), minlength=2 * BINS).reshape(2, BINS)
        self.counts += counts

    def auc(self) -> float:
        """Return the area under the ROC curve, equal scores counted half; nan where a class is empty."""
        normal, abnormal = self.counts.astype(np.float64)
        if not (normal.sum() and abnormal.sum()):
            return float("nan")
        below = np.cumsum(normal) - normal
        return float((abnormal * (below + normal / 2)).sum() / (normal.sum() * abnormal.sum()))

    def average_precision(self) -> float:
        """Return the precision averaged over the steps of recall, as scikit-learn; nan where a class is empty."""
        normal, abnormal = self.counts[:, ::-1].astype(np.float64)
        if not (normal.sum() and abnormal.sum()):
            return float("nan")
        found, wrong = np.cumsum(abnormal), np.cumsum(normal)
        precision = found / np.maximum(found + wrong, 1)
        return float((precision * abnormal).sum() / abnormal.sum())

    def rates(self, threshold: float) -> Rates:
        """Return what calling every score of at least `threshold` abnormal gives.

        The threshold is rounded to the nearest edge of a bin; `best_threshold` returns an edge.
        """
        edge = int(np.clip(round(threshold / self.bin_width), 0, BINS))
        totals = self.counts.sum(1)
        right = np.array([self.counts[NEGATIVE, :edge].sum(), self.counts[POSITIVE, edge:].sum()])
        spe, sen = (_share(int(n), int(total)) for n, total in zip(right, totals, strict=True))
        return Rates(spe, sen, _share(int(right.sum()), int(totals.sum())))

    def best_threshold(self) -> float:
        """Return the threshold to use on other cases, found on a validation set; nan where a class is empty.

        Choice: the largest sum of sensitivity and specificity (Youden 1950), which does not depend on how rare
        lesions are, as the best accuracy would; of several equally good thresholds the middle one.
        """
        totals = self.counts.sum(1, keepdims=True)
        if not totals.all():
            return float("nan")
        below = np.concatenate((np.zeros((2, 1)), np.cumsum(self.counts, 1) / totals), axis=1)
        youden = below[NEGATIVE] - below[POSITIVE]
        best = np.flatnonzero(youden == youden.max())
        return float(best[len(best) // 2] * self.bin_width)


class LesionCounts(NamedTuple):
    """Lesions of one case that were found, all its lesions, and findings that are none."""

    found: int
    lesions: int
    false_positives: int


def count_lesions(abnormal_zyx: np.ndarray, truth_zyx: np.ndarray) -> LesionCounts:
    """Return the lesions that a thresholded map finds, and its findings where there is no lesion.

    Choice: a lesion is a component of 26 neighbours, found when any of its voxels is; a finding is a component too,
    and false when it touches no lesion.

    Args:
        abnormal_zyx: the map above its threshold, bool.
        truth_zyx: the lesions, bool.
    """
    found, lesions = _overlapping(truth_zyx, abnormal_zyx)
    right, findings = _overlapping(abnormal_zyx, truth_zyx)
    return LesionCounts(found, lesions, findings - right)


def _overlapping(mask_zyx: np.ndarray, other_zyx: np.ndarray) -> tuple[int, int]:
    """Return how many components of a mask overlap the other mask, and how many there are."""
    labels_zyx, count = ndimage.label(mask_zyx, np.ones((3, 3, 3)))
    return len(np.unique(labels_zyx[mask_zyx & other_zyx])), int(count)


def _share(part: int, total: int) -> float:
    return part / total if total else float("nan")
