"""Whole-volume sampling with networks whose right answer is known."""

import copy
import itertools

import pytest
import torch

from meddiff.config import DiffusionConfig, MachineConfig, NetworkConfig, SamplingConfig
from meddiff.diffusion.sampling import SavedState, levels_of, sample_levels
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, SlidingWindows, array_bytes
from meddiff.diffusion.solvers import NAMES
from meddiff.diffusion.windows import corners_of, window_slices, window_weight
from meddiff.errors import UserError
from meddiff.model.unet import UNet
from meddiff.store.position import patch_coordinates

SMALL = NetworkConfig(patch_vox=8, channels=8, channel_multipliers=(1, 2), attention_levels=(), norm_groups=4)
PLAIN = SamplingConfig(steps=8, overlap=0.5, bfloat16=False)
THREE_AT_ONCE = MachineConfig(windows_per_batch=3)


class Oracle(torch.nn.Module):
    """Estimates the noise exactly for the volume whose voxels are half the label id's hundredth minus a half."""

    config = SMALL

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.schedule = Schedule(1000)

    def encode_condition(self, anatomy, _coordinates, _target):
        return anatomy[:, None].float() / 200 - 0.5

    def forward(self, x, t, _region, truth):
        alpha, sigma = self.schedule.coefficients(t)
        return (x - alpha * truth) / sigma


def labels(size, seed=0):
    return torch.randint(1, 119, size, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def sampled(model, anatomy, config=PLAIN, prediction="epsilon", seed=0, machine=THREE_AT_ONCE):
    diffusion = DiffusionConfig(prediction=prediction)
    return sample_levels(levels_of([model], diffusion, Condition(anatomy, 0), config, seed, machine), seed)


@pytest.mark.parametrize("windows", ["averaged", "fitted"])
@pytest.mark.parametrize("solver", NAMES)
@pytest.mark.parametrize("size", [(8, 8, 8), (13, 9, 20), (3, 30, 8)])
def test_every_solver_finds_the_volume_of_a_perfect_network(solver, size, windows):
    anatomy = labels(size)
    volume = sampled(Oracle(), anatomy, PLAIN.model_copy(update={"solver": solver, "steps": 20, "windows": windows}))
    assert volume.shape == size
    torch.testing.assert_close(volume, anatomy.float() / 200 - 0.5, atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = UNet(SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("recipe", [{}, {"sampler": "coarse-to-fine"}, {"drawing_overlap": 0.0625}])
def test_the_seed_decides_and_the_batching_does_not(network, recipe):
    given = (network, labels((13, 9, 20)), PLAIN.model_copy(update=recipe), "v")
    first = sampled(*given)
    torch.testing.assert_close(first, sampled(*given), atol=0, rtol=0)
    one_by_one = sampled(*given, machine=MachineConfig(windows_per_batch=1))
    torch.testing.assert_close(first, one_by_one, atol=1e-4, rtol=0)
    assert not torch.allclose(first, sampled(*given, seed=1), atol=1e-2)


def test_averaging_x0_is_averaging_the_noise(network):
    """Section 3.3 averages the estimated noise; at one x_t and t that is the same as averaging x_0."""
    anatomy, t = labels((8, 8, 12)), 600
    x = torch.randn(8, 8, 12, generator=torch.Generator().manual_seed(1)) * 0.1
    schedule = Schedule(1000)
    windows = SlidingWindows([network], DiffusionConfig(prediction="epsilon"), Condition(anatomy, 0), PLAIN)
    x0 = windows.estimate_x0(x, t)
    t_B = torch.tensor([t])
    sums, total = torch.zeros(8, 8, 12), torch.zeros(8, 8, 12)
    for corner in corners_of(windows.layout.starts_zyx(0)):
        index = window_slices(corner, (8, 8, 8))
        starts = tuple(float(c) for c in corner)
        coordinates = patch_coordinates(starts, (1.0,) * 3, (8,) * 3, (8, 8, 12))[None]
        with torch.no_grad():
            encoded = network.encode_condition(anatomy[index][None], coordinates)
            noise = network(x[index][None, None], t_B, torch.tensor([0]), encoded)
        sums[index] += window_weight((8, 8, 8)) * noise[0, 0]
        total[index] += window_weight((8, 8, 8))
    mean_noise = (sums / total)[None, None]
    expected = schedule.to_x0("epsilon", mean_noise, x[None, None], t_B)[0, 0].clamp(-1, 1)
    torch.testing.assert_close(x0, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("skip_air", "count"), [(True, 5), (False, 9)])
def test_windows_outside_the_body_are_air_and_are_not_computed(network, skip_air, count):
    anatomy = labels((8, 8, 40))
    anatomy[:, :, 12:32] = 0
    config = PLAIN.model_copy(update={"skip_air": skip_air})
    windows = SlidingWindows([network], DiffusionConfig(prediction="v"), Condition(anatomy, 0), config)
    x0 = windows.estimate_x0(torch.randn(8, 8, 40), 500)
    assert windows.cost.estimates == count
    assert bool((x0[:, :, 16:28] + 1 < 1e-6).all()) == skip_air


@pytest.mark.parametrize(
    ("body", "count", "covered"),
    [((11, 23), 2, (11, 23)), ((3, 5), 1, (0, 8)), ((38, 40), 1, (32, 40)), ((0, 40), 9, (0, 40)), ((0, 0), 0, None)],
)
@pytest.mark.parametrize("windows", ["averaged", "shifted"])
def test_windows_cover_the_bodys_box_and_the_rest_is_air(network, windows, body, count, covered):
    anatomy = torch.zeros(8, 8, 40, dtype=torch.uint8)
    anatomy[..., slice(*body)] = 5
    config = PLAIN.model_copy(update={"windows": windows})
    condition = Condition(anatomy, 0, air=-0.5)
    estimate = SlidingWindows([network], DiffusionConfig(prediction="v"), condition, config)
    x0 = estimate.estimate_x0(torch.randn(8, 8, 40), 500)
    assert estimate.cost.estimates == count
    expected = torch.zeros(40, dtype=torch.bool)
    expected[slice(*(covered or (0, 0)))] = True
    assert torch.equal(((x0 + 0.5).abs() > 1e-4).any(0).any(0), expected)
    moved = estimate.layout.starts_zyx(0)[2]
    assert covered is None or (min(moved), max(moved) + 8) == covered


def test_conditions_are_encoded_once_as_far_as_the_memory_goes(network):
    anatomy = labels((8, 8, 40))
    for free_gb, encodings in ((1, 9), (0, 27)):
        machine = MachineConfig(windows_per_batch=3, memory_gb=array_bytes(anatomy.numel()) / 1e9 + free_gb)
        windows = SlidingWindows(
            [network], DiffusionConfig(prediction="v"), Condition(anatomy, 0), PLAIN, machine=machine
        )
        for step in range(3):
            windows.estimate_x0(torch.randn(8, 8, 40), 500, step)
        assert (windows.cost.estimates, windows.cost.encodings) == (27, encodings)


def test_a_volume_beyond_the_memory_is_refused(network):
    condition, little = Condition(labels((16, 16, 16)), 0), MachineConfig(memory_gb=1e-6)
    with pytest.raises(UserError, match=r"4,096 voxels needs .* machine.memory_gb is 1e-06; raise it"):
        SlidingWindows([network], DiffusionConfig(prediction="v"), condition, PLAIN, machine=little)


WAYS = [{}, {"windows": "shifted"}, {"sampler": "coarse-to-fine"}]


@pytest.mark.parametrize("way", WAYS)
def test_several_devices_give_the_result_of_one(network, way):
    config, two = PLAIN.model_copy(update=way), MachineConfig(windows_per_batch=2)
    given = (DiffusionConfig(prediction="v"), Condition(labels((13, 9, 20)), 0), config, 0, two)
    one, three = (
        sample_levels(levels_of(networks, *given), 0)
        for networks in ([network], [network, copy.deepcopy(network), copy.deepcopy(network)])
    )
    torch.testing.assert_close(one, three, atol=1e-5, rtol=0)


def test_shifted_windows_lie_elsewhere_at_every_step_and_find_the_volume():
    anatomy = labels((13, 9, 20))
    config = PLAIN.model_copy(update={"windows": "shifted", "steps": 20})
    windows = SlidingWindows([Oracle()], DiffusionConfig(prediction="epsilon"), Condition(anatomy, 0), config)
    assert len({str(windows.layout.starts_zyx(step)) for step in range(10)}) > 5
    torch.testing.assert_close(sampled(Oracle(), anatomy, config), anatomy.float() / 200 - 0.5, atol=0.02, rtol=0)


class Killed(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize(
    ("way", "dies_at", "goes_on_at"),
    [({"solver": solver, "windows": windows}, 6, 3) for solver in NAMES for windows in ("averaged", "shifted")]
    # With 8, 6 and 4 steps at its levels: in the first, where the second begins, in the last.
    + [(WAYS[2], dies_at, goes_on_at) for dies_at, goes_on_at in ((6, 4), (9, 8), (17, 16))],
)
def test_an_interrupted_volume_goes_on_with_the_same_result(network, tmp_path, monkeypatch, way, dies_at, goes_on_at):
    config = PLAIN.model_copy(update=way)
    machine = MachineConfig(windows_per_batch=3, save_every_steps=goes_on_at if goes_on_at == 3 else 4)
    condition, saved = Condition(labels((13, 9, 20)), 0), SavedState(tmp_path / "volume.pt", "this one")

    def draw(saved):
        levels = levels_of([network], DiffusionConfig(prediction="v"), condition, config, machine=machine)
        return sample_levels(levels, 0, saved), [level.windows.cost.estimates for level in levels]

    whole, cost = draw(None)
    estimate, calls = SlidingWindows.estimate_x0, itertools.count(1)

    def dying(self, x, t, step):
        if next(calls) == dies_at:
            raise Killed
        return estimate(self, x, t, step)

    monkeypatch.setattr(SlidingWindows, "estimate_x0", dying)
    with pytest.raises(Killed):
        draw(saved)
    monkeypatch.setattr(SlidingWindows, "estimate_x0", estimate)
    assert SavedState(saved.path, "another one").load() is None
    assert saved.load()["step"] == goes_on_at
    volume, cost_of_both = draw(saved)
    torch.testing.assert_close(volume, whole, atol=0, rtol=0)
    assert cost_of_both == cost
    assert saved.load()  # until the volume is written


def test_a_damaged_state_is_left_aside(network, tmp_path):
    saved = SavedState(tmp_path / "volume.pt", "this one")
    saved.path.write_bytes(b"no state")
    assert saved.load() is None


def test_a_state_of_what_solvers_once_remembered_is_left_aside(tmp_path):
    saved = SavedState(tmp_path / "volume.pt", "this one")
    saved.save(step=3)
    assert saved.load()["step"] == 3
    torch.save({"identity": "this one", "step": 3}, saved.path)
    assert saved.load() is None


class Cramped(Oracle):
    """A network on a device that has memory for so many windows at once."""

    def __init__(self, room):
        super().__init__()
        self.room, self.batches = room, []

    def forward(self, x, t, region, truth):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no memory")
        self.batches.append(len(x))
        return super().forward(x, t, region, truth)


def test_windows_that_do_not_fit_into_memory_at_once_take_turns():
    anatomy, machine = labels((20, 8, 8)), MachineConfig(windows_per_batch=8)
    cramped = Cramped(room=1)
    assert torch.equal(sampled(cramped, anatomy, machine=machine), sampled(Oracle(), anatomy, machine=machine))
    assert set(cramped.batches) == {1}


class Elsewhere(Cramped):
    """A network on another device, one of tensors without data, from which zeros come back."""

    def __init__(self, room):
        super().__init__(room)
        self.to("meta")
        self.schedule = Schedule(1000, "meta")

    def forward(self, x, t, region, truth):
        assert truth.device == x.device
        return torch.zeros_like(super().forward(x, t, region, truth), device="cpu")


def test_conditions_are_those_of_the_device_also_when_windows_are_shared_anew():
    networks, two = [Cramped(room=1), Elsewhere(room=1)], MachineConfig(windows_per_batch=2)
    windows = SlidingWindows(networks, DiffusionConfig(), Condition(labels((40, 8, 8)), 0), PLAIN, machine=two)
    for step in (0, 1):  # by twos, which do not fit, and then one by one
        windows.estimate_x0(torch.zeros(40, 8, 8), 500, step)
    assert all(set(network.batches) == {1} for network in networks)


def test_a_window_that_does_not_fit_into_memory_is_an_error_of_one_line():
    with pytest.raises(UserError, match=r"no memory for one window of 8 x 8 x 8 voxels; lower machine.gpu_memory_gb"):
        sampled(Cramped(room=0), labels((8, 8, 8)))
