"""RePaint: the way through the noise levels, its steps, and what must come out of a known model."""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import RePaintScheduler
from hypothesis import given
from hypothesis import strategies as st

from meddiff.config import DiffusionConfig, MachineConfig, Region
from meddiff.diffusion.repaint import _add_noise, inpaint, walk
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.solvers import trailing_timesteps
from tests.tasks.healthy import HealthySampler

SCHEDULE = Schedule(1000)
ONE, NOTHING = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
BETAS = RePaintScheduler(beta_schedule="squaredcos_cap_v2").betas.double().numpy()
VALUES = np.linspace(-0.9, 0.9, 119)
TWO_TIMESTEPS = st.tuples(st.integers(-1, 999), st.integers(-1, 999)).filter(lambda pair: pair[0] < pair[1])


@st.composite
def walks(draw):
    """Return steps, jump length and resampling."""
    steps = draw(st.integers(1, 60))
    return steps, draw(st.integers(1, steps)), draw(st.integers(1, 5))


def test_a_short_walk_written_out():
    assert walk(6, 2, 2) == [6, 5, 4, 3, 5, 4, 3, 2, 1, 3, 2, 1, 0]
    assert walk(4, 3, 3) == [4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 0]


@given(walks())
def test_the_walk_is_that_of_diffusers(parameters):
    """Theirs goes up one by one and numbers the level above 0 as 0."""
    steps, jump_length, resampling = parameters
    scheduler = RePaintScheduler(num_train_timesteps=steps)
    scheduler.set_timesteps(steps, jump_length, resampling)
    found = [steps]
    for here, there in itertools.pairwise(walk(*parameters)):
        found += range(here + 1, there + 1) if there > here else [there]
    assert found == [t + 1 for t in scheduler.timesteps.tolist()] + [0]


@given(walks())
def test_the_walk_starts_at_the_noise_ends_at_the_result_and_moves_as_it_may(parameters):
    steps, jump_length, _ = parameters
    levels = walk(*parameters)
    assert (levels[0], levels[-1], max(levels)) == (steps, 0, steps)
    assert set(np.diff(levels)) <= {-1, jump_length}
    assert levels.count(0) == 1


@given(walks())
def test_each_jump_costs_its_length(parameters):
    steps, jump_length, resampling = parameters
    jumps = (steps - 1) // jump_length * (resampling - 1)
    moves = np.diff(walk(*parameters))
    assert ((moves > 0).sum(), (moves < 0).sum()) == (jumps, steps + jumps * jump_length)


@given(st.integers(1, 60), st.integers(1, 60))
def test_one_walk_is_the_plain_reverse_process(steps, jump_length):
    assert walk(steps, min(jump_length, steps), 1) == list(range(steps, -1, -1))


@given(TWO_TIMESTEPS)
def test_a_jump_back_keeps_the_marginal(pair):
    t, next_t = pair
    (alpha, sigma), (next_alpha, next_sigma) = SCHEDULE.at(t), SCHEDULE.at(next_t)
    of_x = float(_add_noise(SCHEDULE, ONE, t, next_t, NOTHING))
    of_noise = float(_add_noise(SCHEDULE, NOTHING, t, next_t, ONE))
    assert of_x * alpha == pytest.approx(next_alpha, abs=1e-6)
    assert (of_x * sigma) ** 2 + of_noise**2 == pytest.approx(next_sigma**2, abs=1e-6)


@pytest.mark.parametrize("t", [0, 1, 10, 500, 900, 998])
def test_a_jump_back_by_one_is_the_forward_process(t):
    """Ho et al. 2020, Eq. 2."""
    beta = BETAS[t + 1]
    assert float(_add_noise(SCHEDULE, ONE, t, t + 1, NOTHING)) == pytest.approx(math.sqrt(1 - beta), rel=2e-3)
    assert float(_add_noise(SCHEDULE, NOTHING, t, t + 1, ONE)) == pytest.approx(math.sqrt(beta), rel=2e-3)


class Recording:
    """In the place of windows: knows that the volume is 0.25 and remembers what it saw."""

    diffusion = DiffusionConfig()

    def __init__(self):
        self.seen = []

    def estimate_x0(self, x, t, step):
        self.seen.append((x.clone(), t, step))
        return torch.full_like(x, 0.25)

    def noise(self, generator):
        return torch.randn((16, 16, 32), generator=generator)


def inpainted(windows, known, unknown, seed=0):
    return inpaint(windows, known, unknown, walk(12, 3, 2), torch.Generator().manual_seed(seed))


def test_known_and_unknown_part_have_the_noise_of_every_level_before_and_after_jumps():
    known, unknown = torch.full((16, 16, 32), -0.5), torch.zeros(16, 16, 32, dtype=torch.bool)
    unknown[..., 16:] = True
    windows = Recording()
    inpainted(windows, known, unknown)
    levels = [level for level, there in itertools.pairwise(walk(12, 3, 2)) if there < level]
    timesteps = trailing_timesteps(12, 1000)
    assert [t for _, t, _ in windows.seen] == [timesteps[12 - level] for level in levels]
    assert [step for _, _, step in windows.seen] == [12 - level for level in levels[:-1]] + [None]
    for x, t, _ in windows.seen:
        alpha, sigma = SCHEDULE.at(t)
        for part, truth in ((x[~unknown], -0.5), (x[unknown], 0.25)):
            assert part.mean() == pytest.approx(alpha * truth, abs=5 * sigma / 64)  # 64^2 voxels
            assert part.std() == pytest.approx(sigma, rel=5 / 90)


@pytest.fixture(scope="module")
def scan():
    """Anatomy, a scan that does not look as the model expects, and a ball that is unknown."""
    rng = np.random.default_rng(0)
    anatomy = np.kron(rng.integers(20, 100, (4, 4, 5)), np.ones((5, 5, 5))).astype(np.uint8)
    known = torch.from_numpy(rng.uniform(-1, 1, anatomy.shape)).float()
    distance = np.indices(anatomy.shape) - np.array([9, 11, 14])[:, None, None, None]
    return anatomy, known, torch.from_numpy((distance**2).sum(0) < 36)


def run(scan, windows_per_batch=4, seed=0):
    anatomy, known, unknown = scan
    sampler = HealthySampler(VALUES, MachineConfig(windows_per_batch=windows_per_batch))
    return inpainted(sampler.windows(anatomy, Region.ABDOMEN), known, unknown, seed)


def test_the_known_part_is_as_given_and_the_unknown_one_is_the_models(scan):
    anatomy, known, unknown = scan
    result, truth = run(scan), torch.from_numpy(VALUES[anatomy]).float()
    assert torch.equal(result[~unknown], known[~unknown])
    torch.testing.assert_close(result[unknown], truth[unknown], atol=1e-3, rtol=0)


def test_the_batching_of_windows_does_not_matter(scan):
    assert torch.equal(run(scan, windows_per_batch=1), run(scan, windows_per_batch=8))
