"""Voxel scores against scikit-learn, and lesions counted by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from meddiff.metrics.detection import BINS, VoxelScores, count_lesions

SHAPE = (6, 20, 30)


def case(seed, shift=0.4):
    """Scores in [0, 2], of which those of the rare abnormal voxels are higher, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random(SHAPE) < 0.05
    return np.clip(rng.gamma(2, 0.2, SHAPE) + shift * truth, 0, 2).astype(np.float32), truth


def scores_of(*cases):
    scores = VoxelScores()
    for each in cases:
        scores.add(*each)
    return scores


def test_of_binned_scores_scikit_learn_finds_exactly_the_same():
    score, truth = case(0)
    score = np.floor(score * 10) / 10  # coarser than the bins, so there are many ties
    scores = scores_of((score, truth))
    assert scores.auc() == pytest.approx(roc_auc_score(truth.ravel(), score.ravel()), abs=1e-12)
    expected = average_precision_score(truth.ravel(), score.ravel())
    assert scores.average_precision() == pytest.approx(expected, abs=1e-12)


def test_of_other_scores_the_same_within_what_the_bins_cannot_tell_apart():
    score, truth = case(1)
    scores = scores_of((score, truth))
    normal, abnormal = scores.counts / scores.counts.sum(1, keepdims=True)
    tolerance = (normal * abnormal).sum() / 2  # half the share of pairs in one bin
    assert tolerance < 1e-4
    assert scores.auc() == pytest.approx(roc_auc_score(truth.ravel(), score.ravel()), abs=tolerance + 1e-12)
    assert scores.average_precision() == pytest.approx(average_precision_score(truth.ravel(), score.ravel()), abs=2e-3)


def test_rates_are_those_of_the_thresholded_map():
    score, truth = case(2)
    threshold = 0.5  # an edge
    abnormal = score >= threshold
    rates = scores_of((score, truth)).rates(threshold)
    assert rates.spe == pytest.approx((~abnormal[~truth]).mean())
    assert rates.sen == pytest.approx(abnormal[truth].mean())
    assert rates.acc == pytest.approx((abnormal == truth).mean())


def test_the_best_threshold_has_the_largest_youden_index():
    score, truth = case(3)
    scores = scores_of((score, truth))
    best = scores.rates(scores.best_threshold())
    edges = np.arange(0, BINS + 1, 64) * scores.bin_width
    youden = [rates.spe + rates.sen for rates in map(scores.rates, edges)]
    assert best.spe + best.sen >= max(youden)
    assert best.spe + best.sen == pytest.approx(max(youden), abs=0.01)


def test_order_parts_and_merging_do_not_matter():
    first, second = case(4), case(5, shift=0.1)
    together = scores_of(first, second)
    planes = [tuple(array[z : z + 1] for array in each) for each in (second, first) for z in (3, 1, 5, 0, 2, 4)]
    np.testing.assert_array_equal(scores_of(*planes).counts, together.counts)


def test_only_voxels_of_the_mask_count():
    score, truth = case(6)
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    scores = scores_of((score, truth, mask))
    assert scores.counts.sum() == mask.sum()
    assert scores.auc() == pytest.approx(roc_auc_score(truth[mask], score[mask]), abs=1e-4)


def test_perfect_and_random_scores():
    rng = np.random.default_rng(0)
    truth = rng.random(SHAPE) < 0.1
    perfect = scores_of((np.where(truth, 1.5, 0.5), truth))
    assert (perfect.auc(), perfect.average_precision()) == (1, 1)
    assert perfect.rates(perfect.best_threshold()) == (1, 1, 1)
    assert perfect.best_threshold() == pytest.approx(1, abs=1e-3)  # the middle
    constant = scores_of((np.ones(SHAPE), truth))
    assert constant.auc() == 0.5
    assert constant.average_precision() == pytest.approx(truth.mean())
    random = scores_of((rng.uniform(0, 2, SHAPE), truth))
    assert random.auc() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("value", [True, False])
def test_an_empty_class_has_no_scores(value):
    scores = scores_of((np.ones((1, 2, 2)), np.full((1, 2, 2), value)))
    assert np.isnan([scores.auc(), scores.average_precision(), scores.best_threshold()]).all()
    rates = scores.rates(0.5)
    assert np.isnan(rates.spe if value else rates.sen)
    assert rates.acc == float(value)
    assert np.isnan(VoxelScores().rates(0.5)).all()


def test_scores_at_and_beyond_the_ends_are_counted_in_the_last_bins():
    counts = scores_of((np.array([[[-1.0, 0, 2, 3]]]), np.zeros((1, 1, 4), bool))).counts[0]
    assert (counts[0], counts[-1], counts.sum()) == (2, 2, 4)


def test_mistakes_are_refused_and_change_nothing():
    scores, truth = VoxelScores(), np.zeros((2, 2, 2), bool)
    for score in (np.zeros((2, 2, 3)), np.full((2, 2, 2), np.nan)):
        with pytest.raises(ValueError, match=r"shapes differ|not a number"):
            scores.add(score, truth)
    assert not scores.counts.any()


def test_lesions_are_components_and_found_where_touched():
    truth, abnormal = np.zeros((2, 8, 8, 12), bool)
    truth[1:3, 1:3, 1:3] = truth[3, 3, 3] = True  # one lesion: a corner connects
    truth[6, 6, 6] = True  # a second one, missed
    truth[1, 1, 8:12] = True  # a third, found twice
    abnormal[3, 3, 3:5] = True
    abnormal[1, 1, 8] = abnormal[1, 1, 11] = True
    abnormal[6, 1, 1] = abnormal[7, 2, 2] = True  # one false finding
    assert count_lesions(abnormal, truth) == (2, 3, 1)
    assert count_lesions(truth, truth) == (3, 3, 0)
    assert count_lesions(np.zeros_like(truth), truth) == (0, 3, 0)
    assert count_lesions(abnormal, np.zeros_like(truth)) == (0, 0, 4)
