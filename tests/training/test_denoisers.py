"""Training of the denoisers of Table 4: they learn, the seed decides, a stopped one goes on exactly."""

from itertools import count

import numpy as np
import pytest
import torch

from meddiff.config import MachineConfig, MapNnConfig, Noise2SimConfig, RedCnnConfig
from meddiff.demo.phantom import add_low_dose_noise, make_phantom
from meddiff.errors import TimeSliceEnded
from meddiff.metrics.fidelity import SCORING_WINDOW, fidelity
from meddiff.training import denoisers
from meddiff.training.denoisers import LEARNERS, train_denoiser
from meddiff.training.run import Run

CPU = torch.device("cpu")
SHORT = {
    "red-cnn": RedCnnConfig(width=4, steps=3, batch_size=2, patch_vox=24, learning_rate=1e-3),
    "map-nn": MapNnConfig(width=4, critic_width=2, steps=3, batch_size=2, patch_vox=24),
    "noise2sim": Noise2SimConfig(width=4, steps=3, batch_size=2, patch_vox=24),
}
METHODS = list(SHORT)


@pytest.fixture(scope="module")
def pair():
    phantom = make_phantom(3, 6.0, "abdomen")
    return add_low_dose_noise(phantom, 60, 0).ct_zyx[20:24], phantom.ct_zyx[20:24]


def changed(name, **values):
    return SHORT[name].model_copy(update=values)


def train(name, pairs, folder, recipe=None, seed=0, minutes=float("inf")):
    recipe = recipe or SHORT[name]
    run = Run(name, folder / "runs", seed, CPU, recipe.steps, minutes, MachineConfig())
    scans = [pair if LEARNERS[name].supervised else pair[:1] for pair in pairs]
    return train_denoiser(run, scans, SCORING_WINDOW, recipe, folder / "w")


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_red_cnn_learns_one_pair_by_heart(pair, tmp_path):
    noisy, clean = (hu[:1, :32, 16:48] for hu in pair)
    rates = {"learning_rate": 1e-3, "final_learning_rate": 1e-3}
    recipe = RedCnnConfig(width=16, steps=250, batch_size=1, patch_vox=32, **rates)
    network = train("red-cnn", [(noisy, clean)], tmp_path, recipe)
    assert fidelity(network.denoise(noisy), clean)["psnr"] > fidelity(noisy, clean)["psnr"] + 8


LEARNS = {
    "map-nn": MapNnConfig(
        width=8, depth=2, critic_width=2, critic_steps=1, steps=120, batch_size=4, patch_vox=32, learning_rate=5e-3
    ),
    "noise2sim": Noise2SimConfig(width=8, steps=150, batch_size=4, patch_vox=32, learning_rate=1e-2),
}


@pytest.mark.parametrize(("name", "gain_db"), [("map-nn", 2), ("noise2sim", 1.5)])
def test_a_short_training_lowers_the_noise_of_another_scan(tmp_path, name, gain_db):
    phantoms = [make_phantom(seed, 6.0, "abdomen") for seed in (3, 4)]
    scans = [(add_low_dose_noise(p, 60, 0).ct_zyx[12:32], p.ct_zyx[12:32]) for p in phantoms]
    network = train(name, scans[:1], tmp_path, LEARNS[name])
    noisy, clean = scans[1]
    assert fidelity(network.denoise(noisy), clean)["psnr"] > fidelity(noisy, clean)["psnr"] + gain_db


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_decides(pair, tmp_path, name):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(name, [pair], tmp_path / folder, seed=seed)
    a, b, c = ((tmp_path / folder / "w").read_bytes() for folder in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_training_goes_on_bit_by_bit(pair, tmp_path, name):
    whole = train(name, [pair], tmp_path / "whole")
    for _ in range(SHORT[name].steps - 1):
        with pytest.raises(TimeSliceEnded, match="the same command goes on"):
            train(name, [pair], tmp_path / "parts", minutes=0)
    assert same(train(name, [pair], tmp_path / "parts", minutes=0), whole)
    assert (tmp_path / "parts" / "w").read_bytes() == (tmp_path / "whole" / "w").read_bytes()


@pytest.mark.parametrize("name", METHODS)
def test_a_finished_training_is_read_and_another_one_replaces_it(pair, tmp_path, monkeypatch, name):
    path = tmp_path / "w"
    first = train(name, [pair], tmp_path)
    written = path.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(denoisers, "_train", lambda *_: pytest.fail("trained again"))
        again = train(name, [pair], tmp_path)
    assert path.stat().st_mtime_ns == written
    assert same(first, again)
    noisy, clean = pair
    for change in [{"seed": 1}, {"recipe": changed(name, steps=4)}, {"pairs": [(noisy + 1, clean)]}]:
        before = path.read_bytes()
        train(**{"name": name, "pairs": [pair], "folder": tmp_path} | change)
        assert path.read_bytes() != before


@pytest.mark.parametrize("name", METHODS)
def test_scans_of_different_sizes_and_small_slices(pair, tmp_path, name):
    small = tuple(hu[:2, :22, :30] for hu in pair)
    network = train(name, [pair, small], tmp_path, changed(name, steps=6, patch_vox=55))
    assert np.isfinite(network.denoise(pair[0])).all()


def test_the_defaults_are_the_published_recipes():
    """Chen et al. 2017; Shan et al. 2019 and Niu et al. 2022 with their public code."""
    red_cnn, map_nn, noise2sim = RedCnnConfig(), MapNnConfig(), Noise2SimConfig()
    assert (red_cnn.width, red_cnn.patch_vox) == (96, 55)
    assert (red_cnn.learning_rate, red_cnn.final_learning_rate) == (1e-4, 1e-5)
    assert (map_nn.width, map_nn.depth, map_nn.critic_steps, map_nn.learning_rate) == (32, 5, 4, 1e-4)
    assert (map_nn.batch_size, map_nn.patch_vox, map_nn.error_weight, map_nn.edge_weight) == (128, 64, 50, 50)
    assert (noise2sim.width, noise2sim.batch_size, noise2sim.patch_vox, noise2sim.learning_rate) == (96, 32, 512, 5e-4)
    assert (noise2sim.neighbour_slices, noise2sim.mean_vox, noise2sim.similar_hu) == (2, 7, 30)


EXPECTED_RATES = {
    "red-cnn": (changed("red-cnn", steps=5, learning_rate=1e-3, final_learning_rate=1e-5), np.geomspace(1e-3, 1e-5, 5)),
    # Of 80 parts the second half: the first step is in part 1, the second in part 41.
    "map-nn": (changed("map-nn", steps=2, critic_steps=1, learning_rate=1), [1, 1, 41**-0.5, 41**-0.5]),
    "noise2sim": (
        changed("noise2sim", steps=20, learning_rate=1),
        [*(0, 0.5), *([1] * 13), *((0.5 + 0.5 * np.cos(np.pi * i / 6)) ** 2 for i in range(1, 6))],
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_learning_rate_follows_the_published_course(pair, tmp_path, monkeypatch, name):
    rates = []
    step = torch.optim.Adam.step

    def noted(self, *arguments, **names):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **names)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    recipe, expected = EXPECTED_RATES[name]
    train(name, [pair], tmp_path, recipe)
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_out_of_all_scans(pair, name):
    """Two scans of one value each: a batch of one scan alone would be of one value."""
    scans = [tuple(np.full_like(hu, value) for hu in pair) for value in (-100, 200)]
    learner = LEARNERS[name](scans, SCORING_WINDOW, changed(name, batch_size=16), CPU)
    noisy, clean = learner.draw_pairs(np.random.default_rng(0))
    assert sorted(set(noisy.flatten(1).mean(1).mul(400).sub(160).round().tolist())) == [-100, 200]
    assert torch.equal(noisy, clean)


def test_the_critic_learns_before_each_step_of_map_nn(pair, monkeypatch):
    order, calls = [], count()
    learner = LEARNERS["map-nn"]([pair], SCORING_WINDOW, changed("map-nn", critic_steps=3), CPU)
    for name, optimizer in (("critic", learner.critic_optimizer), ("network", learner.optimizer)):
        monkeypatch.setattr(optimizer, "step", lambda name=name: order.append((name, next(calls))))
    learner.learn(0, np.random.default_rng(0))
    assert [name for name, _ in order] == ["critic", "critic", "critic", "network"]
