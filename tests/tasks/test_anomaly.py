"""Anomaly maps of a model that knows healthy organs."""

import numpy as np
import pytest

from meddiff.anatomy.labels import BODY, CLASS_IDS, OUTSIDE
from meddiff.config import Organ, Region, WindowsConfig
from meddiff.errors import CaseError, UserError
from meddiff.store.view import View
from meddiff.tasks.anomaly import Probe, anomaly_map, organ_mask
from meddiff.volumes.hu import denormalise
from tests.tasks.healthy import HealthySampler

WINDOW = WindowsConfig().chest
LUNG = CLASS_IDS["lung_upper_lobe_left"]
VALUES = np.full(119, 0.5)
VALUES[LUNG], VALUES[0] = -0.4, -1.0


@pytest.fixture
def chest():
    """A lung in a body, and the scan of both."""
    anatomy = np.full((20, 24, 40), 118, np.uint8)
    anatomy[:, 4:20, 6:34] = LUNG
    return anatomy, denormalise(VALUES[anatomy], WINDOW)


def detect(anatomy, hu, organ, timestep=900, **settings):
    view = View(hu, anatomy, Region.CHEST, WINDOW, 1.0)
    return anomaly_map(HealthySampler(VALUES), view, Organ.LUNG, organ, Probe(timestep, **settings))


def test_a_lesion_stands_out_by_its_difference_and_nothing_else_does(chest):
    anatomy, hu = chest
    hu = hu.copy()
    hu[8:12, 10:14, 10:14] += 300
    found = detect(anatomy, hu, organ_mask(anatomy, "lung", 1.0, 0))
    np.testing.assert_allclose(found[8:12, 10:14, 10:14], 300 / 900, atol=0.01)
    found[8:12, 10:14, 10:14] = 0
    assert np.abs(found).max() < 0.01


@pytest.mark.parametrize("label", [OUTSIDE, BODY, CLASS_IDS["liver"]])
def test_a_lesion_stands_out_whatever_it_is_labelled_as(chest, label):
    anatomy, hu = chest
    anatomy[8:12, 10:14, 10:14] = label
    hu[8:12, 10:14, 10:14] = denormalise(VALUES[label], WINDOW)
    found = detect(anatomy, hu, organ_mask(anatomy, "lung", 1.0, 10.0))
    np.testing.assert_allclose(found[8:12, 10:14, 10:14], VALUES[label] - VALUES[LUNG], atol=0.01)


def test_a_vessel_that_is_labelled_does_not_stand_out(chest):
    anatomy, hu = chest
    anatomy[8:12, 10:14, 10:14] = CLASS_IDS["pulmonary_vein"]
    hu[8:12, 10:14, 10:14] = denormalise(np.array(0.5), WINDOW)
    assert np.abs(detect(anatomy, hu, organ_mask(anatomy, "lung", 1.0, 10.0))).max() < 0.01


@pytest.mark.parametrize("draws", [1, 3])
def test_a_healthy_organ_has_a_flat_map(chest, draws):
    anatomy, hu = chest
    assert np.abs(detect(anatomy, hu, organ_mask(anatomy, "lung", 1.0, 0), draws=draws)).max() < 0.01


@pytest.mark.parametrize("masked", [True, False])
def test_what_the_model_sees_of_the_rest_does_not_show(chest, masked):
    anatomy, hu = chest
    assert np.abs(detect(anatomy, hu, organ_mask(anatomy, "lung", 1.0, 0), masked=masked)).max() < 0.01


@pytest.mark.parametrize(("region", "air"), [(Region.CHEST, -5 / 9), (Region.ABDOMEN, -1)])
def test_around_a_masked_organ_the_model_sees_air(chest, region, air):
    anatomy, hu = chest
    organ, window, seen = organ_mask(anatomy, "lung", 1.0, 0), WindowsConfig().for_region(region), []
    sampler = HealthySampler(VALUES)
    sampler.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    anomaly_map(sampler, View(hu, anatomy, region, window, 1.0), Organ.LUNG, organ, Probe(0))
    around = seen[0][0, 0, :, :3]  # rows before the lung
    np.testing.assert_allclose(around.numpy(), air, atol=0.05)  # sigma is 0.0064 at t = 0


def test_the_map_is_zero_outside_of_the_organ(chest):
    anatomy, hu = chest
    organ = organ_mask(anatomy, "lung", 1.0, 0)
    assert (detect(anatomy, hu + 200, organ)[~organ] == 0).all()


def test_the_organ_has_the_holes_and_bays_that_a_lesion_leaves_in_its_label(chest):
    anatomy, _ = chest
    whole = anatomy == LUNG
    anatomy[8:12, 10:14, 10:14] = 118  # a hole
    anatomy[8:12, 4:8, 10:14] = 118  # a bay at the pleura, 4 mm deep
    mask = organ_mask(anatomy, "lung", 1.0, 10.0)
    assert mask[8:12, 10:14, 10:14].all()
    assert mask[8:12, 4:8, 10:14].mean() > 0.7  # all but its outermost plane
    assert (mask & ~whole).sum() < 0.02 * whole.sum()


def test_an_organ_cut_by_the_scan_does_not_grow_out_of_it(chest):
    anatomy, _ = chest
    organ = organ_mask(anatomy[4:16], "lung", 1.0, 10.0)
    assert (organ == (anatomy[4:16] == LUNG)).all()


def test_what_cannot_be_detected_is_refused(chest):
    anatomy, hu = chest
    with pytest.raises(CaseError, match="no liver in the anatomy"):
        organ_mask(anatomy, "liver", 1.0, 10.0)
    organ = organ_mask(anatomy, "lung", 1.0, 0)
    for timestep in (-1, 1000):
        with pytest.raises(UserError, match=f"t {timestep} is outside of the noise schedule; give 0 to 999"):
            detect(anatomy, hu, organ, timestep)
