"""Noise2Sim's pairs: neighbouring slices that share the anatomy and not the noise; MAP-NN's edges."""

from collections import Counter

import numpy as np
import pytest
import torch

from meddiff.config import Noise2SimConfig
from meddiff.metrics.fidelity import SCORING_WINDOW
from meddiff.training.mapnn import sobel
from meddiff.training.noise2sim import Noise2SimLearner, partner_slice, ramp, similar

NOISE_HU = 30.0


@pytest.fixture(scope="module")
def scan():
    """Ten equal slices of two tissues, with independent noise."""
    anatomy = np.zeros((10, 48, 48), np.float32)
    anatomy[:, 12:36, 8:40] = 60
    noise = np.random.default_rng(0).normal(0, NOISE_HU, anatomy.shape)
    return anatomy, np.round(anatomy + noise).astype(np.int16)


def learner(noisy, **values):
    recipe = Noise2SimConfig(width=2, steps=10, batch_size=16, patch_vox=48, **values)
    return Noise2SimLearner([(noisy,)], SCORING_WINDOW, recipe, torch.device("cpu"))


def test_a_pair_shares_the_structure_and_not_the_noise(scan):
    anatomy, noisy = scan
    both = [learner(hu.astype(np.int16)) for hu in (noisy, anatomy)]
    (a, b), (structure, _) = (one.draw_similar(np.random.default_rng(1)) for one in both)
    noise_a, noise_b = a - structure, b - structure
    assert noise_a.std() * SCORING_WINDOW.width_hu == pytest.approx(NOISE_HU, rel=0.05)
    correlation = torch.corrcoef(torch.stack((noise_a.flatten(), noise_b.flatten())))[0, 1]
    assert abs(correlation) < 0.03
    # The mean of many partners is the structure, so that this is what can be learned.
    assert (b - structure).mean().abs() * SCORING_WINDOW.width_hu < 1


def test_partners_lie_within_reach_and_never_are_the_slice_itself():
    rng = np.random.default_rng(0)
    for z, expected in ((0, {1, 2}), (1, {0, 2, 3}), (5, {3, 4, 6, 7}), (9, {7, 8})):
        assert {partner_slice(z, 10, 2, rng) for _ in range(200)} == expected
    assert Counter(partner_slice(0, 2, 2, rng) for _ in range(9)) == {1: 9}


def test_places_where_slices_show_something_else_are_not_alike():
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.normal(0.4, 0.06, (1, 1, 40, 40)).astype(np.float32))
    b = torch.from_numpy(rng.normal(0.4, 0.06, (1, 1, 40, 40)).astype(np.float32))
    assert similar(a, b, 7, 30 / 400).all()  # noise of 24 HU: its mean over 49 pixels is near 0
    b[:, :, 10:25, 10:25] += 0.5
    alike = similar(a, b, 7, 30 / 400)
    assert not alike[:, :, 12:23, 12:23].any()
    assert alike[:, :, 30:, 30:].all()


def test_nothing_is_learned_where_slices_are_not_alike():
    """Every partner of a slice is air where it is bone: without such places no weight moves."""
    hu = np.where(np.arange(8)[:, None, None] % 2 == 0, -150, 230) * np.ones((8, 24, 24))
    one = learner(hu.astype(np.int16), neighbour_slices=1)
    before = [p.clone() for p in one.network.parameters()]
    assert one.learn(5, np.random.default_rng(0)) == 0
    assert all(torch.equal(p, q) for p, q in zip(before, one.network.parameters(), strict=True))


def test_both_slices_are_turned_alike(scan):
    anatomy, _ = scan
    hu = anatomy.astype(np.int16)
    hu[:, :5, :9] = 200  # a corner that no turn or mirror leaves in place
    seen = set()
    for seed in range(40):
        a, b = learner(hu).draw_similar(np.random.default_rng(seed))
        assert torch.equal(a, b)
        seen.add(a[0].numpy().tobytes())
    assert len(seen) == 8


def test_patches_that_are_no_squares_are_turned_too():
    hu = np.random.default_rng(0).integers(-100, 200, (4, 20, 31)).astype(np.int16)
    shapes = {learner(hu).draw_similar(np.random.default_rng(seed))[0].shape[2:] for seed in range(20)}
    assert shapes == {(20, 31), (31, 20)}


def test_the_learning_rate_rises_and_falls():
    shares = np.linspace(0, 1, 101)
    rates = np.array([ramp(share) for share in shares])
    assert (rates[0], rates[100]) == (0, pytest.approx(0, abs=1e-12))
    assert (rates[(shares >= 0.1) & (shares <= 0.7)] == 1).all()
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[70:]) < 0).all()


def test_sobel_finds_slopes_and_nothing_in_a_plain():
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    slopes = sobel((3 * y - 2 * x)[None, None])[0, :, 1:-1, 1:-1]
    assert torch.equal(slopes[0], torch.full_like(slopes[0], 24))  # the filter's weights add up to 8
    assert torch.equal(slopes[1], torch.full_like(slopes[1], -16))
    assert not sobel(torch.ones(1, 1, 8, 8)).any()
