"""Training of RED-CNN: it learns a pair, the seed decides, a finished training is not repeated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from meddiff.data.phantom import add_low_dose_noise, make_phantom
from meddiff.evaluation.fidelity import SCORING_WINDOW, fidelity
from meddiff.training import redcnn
from meddiff.training.redcnn import Recipe, train_redcnn

CPU = torch.device("cpu")
SHORT = Recipe(width=4, steps=3, batch_size=2, patch_vox=24)


@pytest.fixture(scope="module")
def pair():
    phantom = make_phantom(3, 6.0, "abdomen")
    return add_low_dose_noise(phantom, 60, 0).ct_zyx[20:24], phantom.ct_zyx[20:24]


def train(pairs, path, recipe=SHORT, seed=0):
    return train_redcnn(pairs, SCORING_WINDOW, recipe, seed, CPU, path)


def test_it_learns_one_pair_by_heart(pair, tmp_path):
    noisy, clean = (hu[:1, :32, 16:48] for hu in pair)
    recipe = Recipe(width=16, steps=250, batch_size=1, patch_vox=32)
    network = train([(noisy, clean)], tmp_path / "w", recipe)
    assert fidelity(network.denoise(noisy), clean)["psnr"] > fidelity(noisy, clean)["psnr"] + 8


def test_the_seed_decides(pair, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train([pair], tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_finished_training_is_read_and_another_one_replaces_it(pair, tmp_path, monkeypatch):
    path = tmp_path / "w"
    first = train([pair], path)
    written = path.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(redcnn, "_draw", lambda *_: pytest.fail("trained again"))
        again = train([pair], path)
    assert path.stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    noisy, clean = pair
    changes = [{"seed": 1}, {"recipe": replace(SHORT, steps=4)}, {"pairs": [(noisy + 1, clean)]}]
    for change in changes:
        before = path.read_bytes()
        train(**{"pairs": [pair], "path": path} | change)
        assert path.read_bytes() != before


def test_scans_of_different_sizes_and_small_slices(pair, tmp_path):
    small = tuple(hu[:1, :22, :30] for hu in pair)
    network = train([pair, small], tmp_path / "w", replace(SHORT, steps=6, patch_vox=55))
    assert np.isfinite(network.denoise(pair[0])).all()
