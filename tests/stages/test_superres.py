"""Pairs of thick and thin slices, and the scores of what is made of them."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch.nn import functional as F

from meddiff.config import Config, Region, SuperResolutionConfig, WindowsConfig
from meddiff.config.stages import restrict
from meddiff.datasets.index import Case
from meddiff.errors import UserError
from meddiff.machine.files import read_json
from meddiff.machine.shards import DONE, Row, read_index, sidecar
from meddiff.stages import superres as super_resolution
from meddiff.stages.superres import (
    choose_learned,
    choose_thick,
    fidelity_of_slices,
    prepare_method,
    read_scan,
    super_resolve_all,
    write_learned,
)
from meddiff.store.record import open_array
from meddiff.store.thick_slices import interpolate, thicken
from meddiff.tasks.super_resolution import ThickScan
from meddiff.volumes import volumes
from tests.conftest import SPACING_MM, make_record
from tests.stages.segmenters import StandIn

FACTOR = 3
CONFIG = Config(super_resolution=SuperResolutionConfig(factor=FACTOR))
CHEST = WindowsConfig().chest


class Segmenter(StandIn):
    """In the place of TotalSegmentator: all of the body is body."""

    def segment(self, image):
        return np.zeros(image.GetSize()[::-1], np.uint8)


@pytest.fixture(autouse=True)
def no_totalsegmentator(monkeypatch):
    monkeypatch.setattr(super_resolution, "Segmenter", Segmenter)


@pytest.fixture
def stored(tmp_path):
    """A held-out chest: its record, its case and its resampled scan."""
    record = make_record(tmp_path / "phantom_body1_chest", 1, split="test")
    volumes.write_image(record.as_image(record.ct[:]), tmp_path / "ct.nii.gz")
    case = Case("phantom", "body1", tmp_path / "ct.nii.gz", Region.CHEST, "pretraining", "test", 0)
    resampled = Row(case.id, DONE, tmp_path / "ct.nii.gz", "0", 0.0, "")
    return record, case, resampled


def write(stored, case, out):
    record, _, resampled = stored
    config = restrict(CONFIG, "thick_slices")
    super_resolution.write_thick([(record, case)], [resampled], config, out / "index.tsv")
    (made,) = read_index(out / "index.tsv")
    assert made.status == DONE, made.reason
    return made, *read_scan(made, record)


def test_simulated_thick_slices_are_the_means_of_the_thin_ones(stored, tmp_path):
    _, scan, thin = write(stored, stored[1], tmp_path / "thick")
    thin_zyx = volumes.to_zyx(thin)
    assert len(thin_zyx) == len(scan.thick_zyx) * FACTOR == len(scan.anatomy_zyx)
    expected = thicken(torch.from_numpy(thin_zyx), FACTOR).numpy()
    np.testing.assert_allclose(scan.thick_zyx, expected, atol=0.5)
    record = stored[0]
    np.testing.assert_array_equal(thin_zyx, record.ct[:][: len(thin_zyx)])


def test_measured_thick_slices_are_paired_with_the_thin_ones_beneath_them(stored, tmp_path):
    """Thick slices that begin one thin slice into the scan, and go beyond the region in the plane."""
    record, case, _ = stored
    ct_zyx = volumes.to_zyx(volumes.read_image(case.image))
    shifted = ct_zyx[1 : 1 + (len(ct_zyx) - 1) // FACTOR * FACTOR]
    thick = sitk.GetImageFromArray(thicken(torch.from_numpy(shifted), FACTOR).round().short().numpy())
    thick.SetSpacing((SPACING_MM, SPACING_MM, FACTOR * SPACING_MM))
    x, y, z = volumes.read_image(case.image).GetOrigin()
    thick.SetOrigin((x, y, z + SPACING_MM * (1 + (FACTOR - 1) / 2)))
    volumes.write_image(thick, tmp_path / "thick.nii.gz")
    paired = Case(*list(vars(case).values())[:7], thick=tmp_path / "thick.nii.gz")
    assert choose_thick([record], [paired], 5) == [(record, paired)]
    _, scan, thin = write(stored, paired, tmp_path / "out")
    thin_zyx = volumes.to_zyx(thin)
    np.testing.assert_allclose(scan.thick_zyx, thicken(torch.from_numpy(thin_zyx), FACTOR).numpy(), atol=1.5)
    np.testing.assert_allclose(thin_zyx, shifted[: len(thin_zyx)], atol=1)


def test_measured_slices_to_learn_from_lie_on_the_voxels_of_their_region(stored, tmp_path):
    """Thick slices that begin one thin slice into the scan: what is learned is their linear interpolation."""
    record, case, _ = stored
    learned = make_record(tmp_path / "train" / record.id, 1, split="train")
    ct_zyx = volumes.to_zyx(volumes.read_image(case.image))
    shifted = ct_zyx[1 : 1 + (len(ct_zyx) - 1) // FACTOR * FACTOR]
    thick_zyx = thicken(torch.from_numpy(shifted), FACTOR)
    thick = sitk.GetImageFromArray(thick_zyx.round().short().numpy())
    thick.SetSpacing((SPACING_MM, SPACING_MM, FACTOR * SPACING_MM))
    x, y, z = volumes.read_image(case.image).GetOrigin()
    thick.SetOrigin((x, y, z + SPACING_MM * (1 + (FACTOR - 1) / 2)))
    volumes.write_image(thick, tmp_path / "thick.nii.gz")
    paired = Case(*list(vars(case).values())[:7], thick=tmp_path / "thick.nii.gz")
    assert choose_learned([record], [paired]) == []  # the test split
    assert choose_learned([learned], [case]) == []
    chosen = choose_learned([learned], [paired])
    assert chosen == [(learned, paired)]
    out = tmp_path / "measured"
    write_learned(chosen, restrict(CONFIG, "measured_slices"), out / "index.tsv")
    (made,) = read_index(out / "index.tsv")
    assert made.status == DONE, made.reason
    found = open_array(made.path)[:]
    assert found.shape == record.meta.size_zyx
    expected = interpolate(thick_zyx, FACTOR).numpy()
    np.testing.assert_allclose(found[1 : 1 + len(expected)], expected, atol=1.5)


def test_test_regions_of_the_pretraining_stand_in_for_measured_pairs(stored):
    record, case, _ = stored
    assert choose_thick([record], [case], 5) == [(record, case)]
    assert choose_thick([record], [case], 0) == []


def test_interpolation_is_scored_against_the_thin_slices(stored, tmp_path):
    made, scan, thin = write(stored, stored[1], tmp_path / "thick")
    store, config, psnr = [stored[0]], restrict(CONFIG, "super_resolve"), {}
    for method in ("linear", "b-spline"):
        out = tmp_path / method
        prepared = prepare_method(method, config, tmp_path, tmp_path)
        (row,) = super_resolve_all(prepared, [made], store, config, out / "index.tsv")
        assert row.status == DONE, row.reason
        result = volumes.to_zyx(volumes.read_image(row.path))
        scores = read_json(sidecar(row.path))["details"]
        assert scores == {"simulated": True, "region": "chest"} | fidelity_of_slices(result, volumes.to_zyx(thin), scan)
        psnr[method] = scores["psnr"]
    assert 20 < psnr["linear"] < psnr["b-spline"] < 40


def test_the_scores_are_those_of_rplhr_ct():
    rng = np.random.default_rng(0)
    thin = rng.uniform(-1400, 400, (20, 24, 24))
    result = np.clip(thin + rng.normal(0, 90, thin.shape), -1400, 400)
    scores = fidelity_of_slices(result, thin, ThickScan(thin, thin, Region.CHEST, CHEST))
    a, b = ((x[5:-5] + 1400) / 1800 for x in (thin, result))
    assert scores["psnr"] == pytest.approx(20 * np.log10(1 / np.sqrt(np.mean((a - b) ** 2))), rel=1e-5)
    assert scores["ssim"] == pytest.approx(np.mean([gaussian_ssim(p, q) for p, q in zip(a, b, strict=True)]), rel=1e-3)


def gaussian_ssim(a, b):
    """SSIM with a Gaussian of 11 x 11, written down again (Wang et al. 2004), over what the window covers whole."""
    axis = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2)).double()
    kernel = torch.outer(axis, axis)[None, None] / axis.sum() ** 2

    def mean(x):
        return F.conv2d(torch.as_tensor(x)[None, None], kernel)

    ma, mb = mean(a), mean(b)
    va, vb, cab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return float((((2 * ma * mb + c1) * (2 * cab + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def test_an_unknown_method_is_refused(tmp_path):
    with pytest.raises(UserError, match="'magic' is unknown; choose from linear"):
        prepare_method("magic", restrict(CONFIG, "super_resolve"), tmp_path, tmp_path)
