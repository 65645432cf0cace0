"""Coarse to fine: what each level shows, what it hands on, and that the way leads to the volume."""

import itertools

import numpy as np
import pytest
import torch

from meddiff.config import MODEL_REGIONS, CoarseToFineConfig, DiffusionConfig, SamplingConfig
from meddiff.diffusion.levels import at_level, carried, onto_region, parts_of, planned_costs, size_at
from meddiff.diffusion.sampling import levels_of, sample_levels
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, Cost, SlidingWindows
from meddiff.store.patches import Crop, cut
from meddiff.store.position import patch_coordinates
from meddiff.volumes.hu import normalise

from .test_sliding import SMALL, Oracle, labels

COARSE_TO_FINE = SamplingConfig(sampler="coarse-to-fine", bfloat16=False)
V = DiffusionConfig(prediction="v")


@pytest.mark.parametrize("level", ["image", "double", "patch"])
def test_a_level_shows_what_the_model_was_trained_on(record, level):
    patch_vox = record.image_anatomy.shape[0]
    region = MODEL_REGIONS.index(record.meta.region)
    shown = at_level(Condition(torch.from_numpy(record.anatomy[:]), region), level, patch_vox)
    sample = cut(record, Crop(level, patch_vox))
    inside = tuple(slice(0, min(patch_vox, n)) for n in shown.anatomy_ZYX.shape)
    assert torch.equal(shown.anatomy_ZYX[inside], sample.anatomy[inside])
    place = shown.place or SlidingWindows([Oracle()], V, shown, COARSE_TO_FINE).place
    offset = tuple(float(o) for o in place.offset_zyx)
    found = patch_coordinates(offset, place.step_zyx, (patch_vox,) * 3, place.region_zyx)
    torch.testing.assert_close(found, sample.coordinates, atol=1e-6, rtol=0)
    assert tuple(shown.anatomy_ZYX.shape) == size_at(level, record.meta.size_zyx, patch_vox)


def windows_of(size, level):
    shown = at_level(Condition(torch.ones(size, dtype=torch.uint8), 0), level, SMALL.patch_vox)
    return SlidingWindows([Oracle()], V, shown, COARSE_TO_FINE)


def places(windows):
    """Return where the voxels of a volume lie in the region, one axis after the other."""
    indices = np.indices(windows.inner_size)
    for axis, (offset, step) in enumerate(zip(windows.place.offset_zyx, windows.place.step_zyx, strict=True)):
        yield torch.from_numpy(offset + step * (indices[axis] + 0.5)).float()


@pytest.mark.parametrize("size", [(17, 21, 30), (4, 16, 40)])
@pytest.mark.parametrize(("coarse", "fine"), [("image", "double"), ("double", "patch"), ("image", "patch")])
def test_what_is_handed_on_stays_where_it_is(size, coarse, fine):
    coarse, fine = windows_of(size, coarse), windows_of(size, fine)
    for axis, (there, here) in enumerate(zip(places(coarse), places(fine), strict=True)):
        found = fine.inner(carried(coarse, coarse.padded(there), fine))
        step = coarse.place.step_zyx[axis]
        assert float((found - here).abs().max()) <= max(step, fine.place.step_zyx[axis]) / 2 + 1e-4
        inside = (here > 3 * step) & (here < size[axis] - 3 * step)
        torch.testing.assert_close(found[inside], here[inside], atol=0.1 * step, rtol=0)


def test_what_is_handed_on_keeps_the_means_of_the_coarse_voxels():
    coarse, fine = windows_of((16, 20, 32), "double"), windows_of((16, 20, 32), "patch")
    volume = torch.nn.functional.avg_pool3d(torch.rand(1, 1, 10, 12, 18), 3, 1)[0, 0]
    found = fine.inner(carried(coarse, coarse.padded(volume), fine))
    means = torch.nn.functional.avg_pool3d(found[None, None], 2)[0, 0]
    assert (means - volume).abs().mean() < 0.1 * (volume - volume.mean()).abs().mean()


@pytest.mark.parametrize(
    ("size", "names"),
    [((8, 8, 8), ["patch"]), ((5, 16, 9), ["double", "patch"]), ((5, 17, 9), ["image", "double", "patch"])],
)
def test_a_region_is_drawn_at_the_levels_that_it_needs(size, names):
    parts = parts_of(COARSE_TO_FINE, "v", size, 8)
    assert [part.level for part in parts] == names
    assert [part.level for part in parts_of(SamplingConfig(), "v", size, 8)] == ["patch"]
    for before, after in itertools.pairwise(parts):
        assert before.span.last < after.span.first < before.span.first


@pytest.mark.parametrize("sampler", ["sliding-windows", "coarse-to-fine"])
def test_the_last_step_begins_with_the_noise_that_is_configured(sampler):
    config = SamplingConfig(sampler=sampler, last_noise=0.3, bfloat16=False)
    *_, level = levels_of([Oracle()], V, Condition(labels((13, 9, 40)), 0), config)
    *_, last = level.solver().timesteps
    assert Schedule(V.timesteps).noise_to_signal[last] == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(("last_noise", "begin"), [(0.3, 0.6), (0.6, 0.6), (0.7, 0.6), (0.7, 0.8)])
def test_noise_never_rises_and_a_level_without_noise_to_lose_is_one_step(last_noise, begin):
    config = COARSE_TO_FINE.model_copy(
        update={"last_noise": last_noise, "coarse_to_fine": CoarseToFineConfig(patch_noise=begin)}
    )
    *_, level = levels_of([Oracle()], V, Condition(labels((13, 9, 40)), 0), config)
    noises = [float(Schedule(V.timesteps).noise_to_signal[t]) for t in level.solver().timesteps]
    assert len(noises) == (4 if begin > last_noise else 1)
    assert (noises[0], noises[-1]) == pytest.approx((begin, min(begin, last_noise)), rel=0.01)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("last_noise", [0.02, 0.7])
def test_as_many_windows_are_estimated_as_are_planned(prediction, last_noise):
    size, network = (13, 9, 40), Oracle()
    condition, config = Condition(labels(size), 0), COARSE_TO_FINE.model_copy(update={"last_noise": last_noise})
    levels = levels_of([network], DiffusionConfig(prediction=prediction), condition, config)
    sample_levels(levels, 0)
    costs = [level.windows.cost for level in levels]
    assert planned_costs(config, prediction, size, SMALL) == costs


def test_a_region_is_drawn_with_an_overlap_of_its_own():
    size, condition = (16, 16, 16), Condition(labels((16, 16, 16)), 0)
    config = SamplingConfig(steps=3, overlap=0.5, drawing_overlap=0.0)
    (level,) = levels_of([Oracle()], V, condition, config)
    estimate = SlidingWindows([Oracle()], V, condition, config)
    assert [each.layout.starts_zyx(None) for each in (level.windows, estimate)] == [[[0, 8]] * 3, [[0, 4, 8]] * 3]
    assert planned_costs(config, "v", size, SMALL) == [Cost((8, 8, 8), 3 * 8, 8)]


def test_the_windows_of_a_region_that_is_drawn_fit_it():
    size, condition = (20, 16, 10), Condition(labels((20, 16, 10)), 0)
    config = SamplingConfig(steps=3, overlap=0.5, drawing_overlap=0.0)
    (level,) = levels_of([Oracle()], V, condition, config)
    assert level.windows.window_zyx == (10, 8, 10)
    sample_levels([level], 0)
    assert planned_costs(config, "v", size, SMALL) == [level.windows.cost] == [Cost((10, 8, 10), 3 * 4, 4)]
    assert SlidingWindows([Oracle()], V, condition, config).window_zyx == (8, 8, 8)


@pytest.mark.parametrize("size", [(8, 8, 8), (13, 9, 15), (3, 30, 8)])
def test_coarse_to_fine_finds_the_volume_of_a_perfect_network(size):
    anatomy = labels(size)
    levels = levels_of([Oracle()], DiffusionConfig(), Condition(anatomy, 0), COARSE_TO_FINE)
    torch.testing.assert_close(sample_levels(levels, 0), anatomy.float() / 200 - 0.5, atol=0.02, rtol=0)


def test_a_preview_is_the_volume_as_one_window_shows_it():
    anatomy = (2 * torch.arange(40) + 1).to(torch.uint8)[:, None, None].expand(40, 36, 44).contiguous()
    preview = SamplingConfig(sampler="preview", bfloat16=False)
    (level,) = levels_of([Oracle()], DiffusionConfig(), Condition(anatomy, 0), preview)
    found = onto_region(sample_levels([level], 0), level.windows.place)
    assert level.windows.cost.estimates == len(level.solver().timesteps) == 10
    within_a_voxel = 2 * level.windows.place.step_zyx[0] / 200
    torch.testing.assert_close(found, anatomy / 200 - 0.5, atol=within_a_voxel, rtol=0)


def test_of_what_a_window_holds_there_is_no_preview():
    preview = SamplingConfig(sampler="preview", bfloat16=False)
    (level,) = levels_of([Oracle()], DiffusionConfig(), Condition(labels((8, 8, 8)), 0), preview)
    assert level.windows.inner_size == (8, 8, 8)


def test_a_stored_scan_that_is_carried_up_is_close_to_the_scan(record):
    scan = torch.from_numpy(normalise(record.ct[:], record.meta.window))
    anatomy = torch.from_numpy(record.anatomy[:])
    sides = [
        SlidingWindows([Oracle()], V, at_level(Condition(anatomy, 1), level, 16), COARSE_TO_FINE)
        for level in ("image", "patch")
    ]
    whole = torch.from_numpy(normalise(record.image_ct[:], record.meta.window))
    found = sides[1].inner(carried(sides[0], sides[0].padded(whole), sides[1]))
    assert torch.corrcoef(torch.stack((found.flatten(), scan.flatten())))[0, 1] > 0.8
