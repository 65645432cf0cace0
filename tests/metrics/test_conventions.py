"""What is said of each metric holds for the function that computes it: range, perfect value and direction."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from meddiff.config import Region, WindowsConfig
from meddiff.metrics.conventions import HIGHER, LOWER, METRICS, heading
from meddiff.metrics.detection import VoxelScores
from meddiff.metrics.distribution import frechet_distance, maximum_mean_discrepancy
from meddiff.metrics.extractor import Extractor
from meddiff.metrics.fidelity import fidelity
from meddiff.metrics.lpips import lpips
from meddiff.metrics.ms_ssim import ms_ssim
from meddiff.metrics.overlap import dice
from meddiff.report import table1, table3, table4, table5, table6, table_sr, table_v3
from meddiff.stages.superres import fidelity_of_slices
from meddiff.tasks.super_resolution import ThickScan
from meddiff.volumes.hu import denormalise

COUNTS = {"found", "lesions"}  # of lesions: how many there are is neither good nor bad
WINDOW = WindowsConfig().abdomen
NOT_COMPUTED = {"image_auroc", "pixel_auroc", "pro", "false_positives"}  # quoted, or a count
NOISE = (0.0, 0.15, 0.6)  # perfect, a little wrong, worse
RNG = np.random.default_rng(0)
SCAN = ndimage.gaussian_filter(RNG.normal(size=(24, 40, 40)), 2)
SCAN = (SCAN / np.abs(SCAN).max()).astype(np.float32)
ERROR = RNG.normal(size=SCAN.shape).astype(np.float32)


def with_error(noise):
    return np.clip(SCAN + noise * ERROR, -1, 1)


def hu(scaled):
    return denormalise(scaled, WINDOW)


def masks(noise):
    return SCAN > 0, with_error(noise) > 0


def voxel_scores(noise):
    scores = VoxelScores(2.0)
    scores.add(with_error(noise) + 1, SCAN > 0.1)
    return scores


def features(noise):
    real = np.random.default_rng(1).normal(size=(60, 8))
    return real, np.random.default_rng(2 if noise else 1).normal(noise, 1, size=(60, 8))


def thick():
    """A scan with thick slices, of which the scores read the window alone."""
    return ThickScan(SCAN, np.ones(SCAN.shape, np.uint8), Region.ABDOMEN, WINDOW)


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return Extractor("resnet10").eval()


def scores(name, noise, extractor):
    """Return the metric by every function that computes it; SSIM and PSNR have one in Table 4 and one beyond."""
    pair = [torch.from_numpy(x) for x in (SCAN, with_error(noise))]
    if name == "lpips":
        return [lpips(pair[0][None, None], pair[1][None, None], extractor).item()]
    if name in ("ssim", "psnr", "ssim_range1"):
        found = [fidelity(hu(with_error(noise)), hu(SCAN))]
        found += [] if name == "ssim_range1" else [fidelity_of_slices(hu(with_error(noise)), hu(SCAN), thick())]
        return [one[name] for one in found]
    if name in ("spe", "sen", "acc"):
        return [voxel_scores(noise).rates(1.1)._asdict()[name]]
    functions = {
        "ms_ssim": lambda: ms_ssim(pair[0], pair[1], 2),
        "fid": lambda: frechet_distance(*features(noise)),
        "mmd": lambda: maximum_mean_discrepancy(*features(noise)),
        **dict.fromkeys(("dice", "inpainting_dice", "ceiling"), lambda: dice(*masks(noise))),
        **dict.fromkeys(("auc", "organ_auc"), lambda: voxel_scores(noise).auc()),
        "organ_ap": lambda: voxel_scores(noise).average_precision(),
    }
    return [functions[name]()]


@pytest.mark.parametrize("name", sorted(set(METRICS) - NOT_COMPUTED))
def test_range_perfect_value_and_direction(name, extractor):
    metric = METRICS[name]
    for perfect, near, far in zip(*(scores(name, noise, extractor) for noise in NOISE), strict=True):
        assert perfect == pytest.approx(metric.perfect, abs=0.04 if name == "mmd" else 1e-4)
        assert all(metric.lowest - 1e-6 <= value <= metric.highest + 1e-6 for value in (perfect, near, far))
        assert (perfect > near > far) if metric.better == HIGHER else (perfect < near < far)


def test_ends_of_the_ranges():
    ones, up = torch.ones(8, 8, 8), torch.linspace(-1, 1, 8).expand(8, 8, 8)
    assert ms_ssim(up, -up, 1) == METRICS["ms_ssim"].lowest  # opposite structure is not below 0
    assert ms_ssim(ones, ones, 1) == pytest.approx(METRICS["ms_ssim"].highest)
    nothing, everything = np.zeros((4, 8, 8), bool), np.ones((4, 8, 8), bool)
    assert dice(nothing, everything) == METRICS["dice"].lowest
    black, white = hu(-np.ones((3, 12, 12), np.float32)), hu(np.ones((3, 12, 12), np.float32))
    assert fidelity_of_slices(black, white, thick())["psnr"] == pytest.approx(METRICS["psnr"].lowest)


def test_every_column_of_the_tables_says_which_way_is_better():
    tables = (table3, table4, table5, table6, table_sr)
    columns = {column for table in tables for column in table.METRICS}
    columns |= {*table3.ORGAN_METRICS, *table6.AUGMENTATION_METRICS}
    columns |= {*table_v3.ABLATION_METRICS, *table_v3.BMAD_METRIC_NAMES}
    assert columns - COUNTS <= set(METRICS)
    assert not set(table1.METRICS) & set(METRICS)
    assert heading("fid") == f"fid {LOWER}"
    assert heading("dice") == f"dice {HIGHER}"
    assert heading("cases") == "cases"


def test_the_documentation_has_the_same_table():
    def number(value):
        return "∞" if np.isinf(value) else f"{value:g}"

    page = (Path(__file__).parents[2] / "docs" / "pipeline.md").read_text()
    for name, m in METRICS.items():
        ends = f"{number(m.lowest)} to {number(m.highest)}"
        assert f"| `{name}` {m.better} | {ends} | {number(m.perfect)} | {m.on} |" in page
