"""Training of RED-CNN: it learns a pair, the seed decides, a finished training is not repeated."""

import numpy as np
import pytest
import torch

from meddiff.config import RedCnnConfig
from meddiff.demo.phantom import add_low_dose_noise, make_phantom
from meddiff.metrics.fidelity import SCORING_WINDOW, fidelity
from meddiff.model.redcnn import RedCNN
from meddiff.training import redcnn
from meddiff.training.redcnn import train_redcnn

CPU = torch.device("cpu")
SHORT = RedCnnConfig(width=4, steps=3, batch_size=2, patch_vox=24, learning_rate=1e-3)


@pytest.fixture(scope="module")
def pair():
    phantom = make_phantom(3, 6.0, "abdomen")
    return add_low_dose_noise(phantom, 60, 0).ct_zyx[20:24], phantom.ct_zyx[20:24]


def changed(**values):
    return SHORT.model_copy(update=values)


def train(pairs, path, recipe=SHORT, seed=0):
    return train_redcnn(pairs, SCORING_WINDOW, recipe, seed, CPU, path)


def test_it_learns_one_pair_by_heart(pair, tmp_path):
    noisy, clean = (hu[:1, :32, 16:48] for hu in pair)
    rates = {"learning_rate": 1e-3, "final_learning_rate": 1e-3}
    recipe = RedCnnConfig(width=16, steps=250, batch_size=1, patch_vox=32, **rates)
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
    changes = [{"seed": 1}, {"recipe": changed(steps=4)}, {"pairs": [(noisy + 1, clean)]}]
    for change in changes:
        before = path.read_bytes()
        train(**{"pairs": [pair], "path": path} | change)
        assert path.read_bytes() != before


def test_scans_of_different_sizes_and_small_slices(pair, tmp_path):
    small = tuple(hu[:1, :22, :30] for hu in pair)
    network = train([pair, small], tmp_path / "w", changed(steps=6, patch_vox=55))
    assert np.isfinite(network.denoise(pair[0])).all()


def test_the_defaults_are_the_published_recipe():
    """Chen et al. 2017: 96 channels, patches of 55 x 55, Adam from 1e-4 down to 1e-5."""
    recipe = RedCnnConfig()
    assert (recipe.width, recipe.patch_vox) == (96, 55)
    assert (recipe.learning_rate, recipe.final_learning_rate) == (1e-4, 1e-5)


def test_the_learning_rate_falls_from_the_first_step_to_the_last(pair, tmp_path, monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def noted(self, *arguments, **names):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **names)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    train([pair], tmp_path / "w", changed(steps=5, learning_rate=1e-3, final_learning_rate=1e-5))
    np.testing.assert_allclose(rates, np.geomspace(1e-3, 1e-5, 5), rtol=1e-6)


def test_a_batch_is_out_of_all_scans(pair):
    """Two scans of one value each: a batch of one scan alone would be of one value."""
    scans = [tuple(np.full_like(hu, value) for hu in pair) for value in (-100, 200)]
    network = RedCNN(SCORING_WINDOW, 4)
    noisy, clean = redcnn._draw(scans, network, changed(batch_size=16), 0)
    assert sorted(set(noisy.flatten(1).mean(1).mul(400).sub(160).round().tolist())) == [-100, 200]
    assert torch.equal(noisy, clean)
