"""Pairs of low and normal dose, and the methods of Table 4 on them."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.config import (
    DENOISING_NETWORKS,
    FILTERS,
    TRAINED_DENOISERS,
    LowDoseConfig,
    MapNnConfig,
    Noise2SimConfig,
    RedCnnConfig,
    Region,
    WindowsConfig,
    parse_config,
)
from meddiff.config.stages import restrict
from meddiff.datasets.index import Case
from meddiff.demo.phantom import make_phantom
from meddiff.machine.shards import DONE, QUARANTINED, Row, read_index
from meddiff.metrics.fidelity import fidelity
from meddiff.model.mapnn import MapNN
from meddiff.report.table4 import table4
from meddiff.stages import denoise as denoising
from meddiff.stages import low_dose as pairing
from meddiff.stages.denoise import (
    GUIDED,
    MODEL_PREFIX,
    denoise_pairs,
    filter_pairs,
    keep_outside,
    train_on_pairs,
)
from meddiff.stages.low_dose import choose_sources, facts_of, labels_path, read_pair, write_pairs
from meddiff.tasks.baselines import BASELINES
from meddiff.tasks.denoising import METHODS
from meddiff.volumes import volumes
from tests.conftest import SPACING_MM, make_record
from tests.stages.segmenters import StandIn
from tests.tasks.healthy import HealthySampler

CONFIG = parse_config({"data": {"spacing_mm": SPACING_MM}}, "test").model_copy(
    update={
        "low_dose": LowDoseConfig(photons=2e4),
        "red_cnn": RedCnnConfig(width=4, steps=3, batch_size=2),
        "map_nn": MapNnConfig(width=4, critic_width=2, steps=3, batch_size=2, patch_vox=24),
        "noise2sim": Noise2SimConfig(width=4, steps=3, batch_size=2, patch_vox=24),
    }
)
LUNG = CLASS_IDS["lung_upper_lobe_left"]


class Segmenter(StandIn):
    """In the place of TotalSegmentator: what is darker than fat is lung, so that its labels tell which scan it saw."""

    def segment(self, image):
        return np.where(volumes.to_zyx(image) < -400, np.uint8(LUNG), np.uint8(0))


@pytest.fixture(autouse=True, scope="module")
def no_totalsegmentator():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairing, "Segmenter", Segmenter)
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Records, the manifest's cases and the resampled scans of three chests."""
    folder = tmp_path_factory.mktemp("data")
    records, cases, resampled = [], [], []
    for seed, split in enumerate(("train", "val", "test")):
        record = make_record(folder / "store" / f"phantom_body{seed}_chest", seed, split=split)
        ct = volumes.to_zyx(record.as_image(record.ct[:]))
        ct[:2] = -1024  # below the region's window, where the store clips
        path = folder / f"phantom_body{seed}.nii.gz"
        volumes.write_image(record.as_image(ct), path)
        records.append(record)
        cases.append(Case("phantom", f"body{seed}", path, record.meta.region, "pretraining", split, 0))
        resampled.append(Row(f"phantom_body{seed}", DONE, path, "0", 0.0, ""))
    return records, cases, resampled


def write(sources, resampled, out):
    return write_pairs(sources, resampled, restrict(CONFIG, "low_dose"), out / "index.tsv")


@pytest.fixture(scope="module")
def pairs(stored, tmp_path_factory):
    records, cases, resampled = stored
    return write(choose_sources(records, cases, 20), resampled, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two cases with a low-dose scan, finer than the model and not cubes, to choose and to test."""
    folder = tmp_path_factory.mktemp("measured")
    cases = []
    for seed, split in enumerate(("val", "test")):
        chest = make_phantom(seed, SPACING_MM, "chest").ct_zyx
        size_xyz = [2 * chest.shape[2], 2 * chest.shape[1], chest.shape[0]]
        grid = sitk.Image(size_xyz, sitk.sitkInt16)
        grid.SetSpacing((SPACING_MM / 2, SPACING_MM / 2, SPACING_MM))
        grid.SetOrigin((-SPACING_MM / 4, -SPACING_MM / 4, 0))
        clean = volumes.onto(volumes.from_zyx(chest, SPACING_MM), grid)
        noise = np.random.default_rng(seed).normal(0, 25, size_xyz[::-1])
        noisy = volumes.like(np.clip(volumes.to_zyx(clean) + noise, -1024, 3000).astype(np.int16), clean)
        paths = folder / f"{split}-full.nii.gz", folder / f"{split}-quarter.nii.gz"
        for image, path in zip((clean, noisy), paths, strict=True):
            volumes.write_image(image, path)
        cases.append(Case("mayo", split, paths[0], Region.CHEST, "downstream", split, 0, low_dose=paths[1]))
    return cases


@pytest.fixture
def model(monkeypatch):
    """In the place of a trained model: one that expects a value of each label."""
    values = np.full(119, 0.55)  # about 0 HU in the chest's window
    values[LUNG], values[0] = -0.3, -0.55
    sampler = HealthySampler(values)
    sampler.model = SimpleNamespace(windows=WindowsConfig())
    monkeypatch.setattr(denoising, "Sampler", lambda *_: sampler)


def denoise_with_model(rows, out, tmp_path):
    (tmp_path / "model.safetensors").touch()
    return denoise_pairs(f"{MODEL_PREFIX}one-step", rows, restrict(CONFIG, "denoise_pairs"), tmp_path, tmp_path, out)


def test_a_few_scans_of_each_split_are_simulated(stored, pairs):
    records, cases, _ = stored
    assert len(choose_sources(records, cases, 1)) == 3
    assert len(choose_sources(records * 2, cases, 1)) == 3
    assert [facts_of(row) for row in pairs] == [
        {"simulated": True, "region": "chest", "split": split, "spacing_mm": SPACING_MM}
        for split in ("train", "val", "test")
    ]
    pair = read_pair(pairs[0])
    assert pair.clean_zyx.min() == -1024  # not clipped to the window
    assert 5 < (pair.noisy_zyx - pair.clean_zyx.astype(float)).std() < 100


def test_real_low_dose_scans_take_the_place_of_simulated_ones(stored, measured, tmp_path):
    records, cases, resampled = stored
    sources = choose_sources(records, [*cases, *measured], 20)
    assert [(source.id, source.record) for source in sources] == [("mayo_val", None), ("mayo_test", None)]
    for row, case in zip(write(sources, resampled, tmp_path), measured, strict=True):
        assert not facts_of(row)["simulated"]
        pair = read_pair(row)
        np.testing.assert_array_equal(pair.noisy_zyx, volumes.to_zyx(volumes.read_image(case.low_dose)))
        np.testing.assert_array_equal(pair.clean_zyx, volumes.to_zyx(volumes.read_image(case.image)))
        assert pair.grid.GetSpacing() == (SPACING_MM,) * 3
        assert (pair.labels is None) == (pair.split == "val")
    assert pair.labels.GetSize() == pair.grid.GetSize()


def test_every_method_is_scored_on_the_native_slices(measured, model, tmp_path):
    """As they were reconstructed, of the full field of view: neither resampled nor cut to the body."""
    rows = write(choose_sources([], measured, 1), [], tmp_path / "pairs")
    noisy, clean = (volumes.read_image(path) for path in (measured[1].low_dose, measured[1].image))
    (plain,) = filter_pairs("ldct", rows, restrict(CONFIG, "filter_pairs"), tmp_path / "ldct")
    expected = fidelity(volumes.to_zyx(noisy), volumes.to_zyx(clean))
    assert {name: plain[name] for name in expected} == expected
    (ours,) = denoise_with_model(rows, tmp_path / "model", tmp_path)
    result = volumes.read_image(tmp_path / "model" / "mayo_test.nii.gz")
    assert (result.GetSize(), result.GetSpacing()) == (noisy.GetSize(), noisy.GetSpacing())
    expected = fidelity(volumes.to_zyx(result), volumes.to_zyx(clean))
    assert {name: ours[name] for name in expected} == expected


def test_denoising_sees_nothing_of_the_clean_scan(measured, model, tmp_path):
    """Neither its anatomy nor the box of its body: beside another clean scan the result has the same bytes."""
    other = volumes.read_image(measured[1].image)
    values = np.full(other.GetSize()[::-1], 40, np.int16)
    values[:, 20:40, 20:40] = -1000
    volumes.write_image(volumes.like(values, other), tmp_path / "other.nii.gz")
    found = []
    for name, image in (("a", measured[1].image), ("b", tmp_path / "other.nii.gz")):
        cases = [measured[0], replace(measured[1], image=image)]
        rows = write(choose_sources([], cases, 1), [], tmp_path / name)
        (row,) = denoise_with_model(rows, tmp_path / f"{name}-denoised", tmp_path)
        files = labels_path(tmp_path / name / "mayo_test.nii.gz"), tmp_path / f"{name}-denoised" / "mayo_test.nii.gz"
        found.append((row["psnr"], *(path.read_bytes() for path in files)))
    assert found[0][0] != found[1][0]
    assert found[0][1:] == found[1][1:]


def test_a_pair_on_two_grids_is_quarantined(measured, tmp_path):
    short = volumes.read_image(measured[1].low_dose)[:, :, 1:]
    volumes.write_image(short, tmp_path / "short.nii.gz")
    sources = choose_sources([], [replace(measured[1], low_dose=tmp_path / "short.nii.gz")], 1)
    (row,) = write(sources, [], tmp_path)
    assert row.status == QUARANTINED
    assert "on another grid than the normal-dose one" in row.reason


@pytest.mark.parametrize("method", ["ldct", "median", "gaussian", "wiener", *TRAINED_DENOISERS])
def test_a_method_is_scored_on_the_test_scans_alone(pairs, tmp_path, method):
    if method in FILTERS:
        (row,) = filter_pairs(method, pairs, restrict(CONFIG, "filter_pairs"), tmp_path / method)
    else:
        train_on_pairs(
            method, pairs, restrict(CONFIG, "train_denoiser"), tmp_path / "runs", tmp_path / "trained" / method
        )
        networks = (restrict(CONFIG, "denoise_pairs"), tmp_path, tmp_path / "trained")
        (row,) = denoise_pairs(method, pairs, *networks, tmp_path / method)
    assert row["id"] == "phantom_body2_chest"
    assert row["simulated"]
    assert 10 < row["psnr"] < 60
    assert 0 < row["ssim_range1"] <= row["ssim"] <= 1


def test_without_pairs_to_learn_from_a_row_stays_empty(pairs, tmp_path):
    assert filter_pairs("median", pairs[2:], restrict(CONFIG, "filter_pairs"), tmp_path / "median") == []
    networks = (restrict(CONFIG, "denoise_pairs"), tmp_path, tmp_path / "nowhere")
    assert denoise_pairs("red-cnn", pairs, *networks, tmp_path / "red-cnn") == []
    assert [read_index(path / "index.tsv") for path in sorted(tmp_path.iterdir())] == [[], []]


def test_the_rows_of_table_4_are_the_methods_there_are():
    assert set(FILTERS) == {"ldct", *BASELINES}
    assert set(DENOISING_NETWORKS) == {*TRAINED_DENOISERS, *(f"{MODEL_PREFIX}{name}" for name in (*METHODS, GUIDED))}


def test_noise2sim_learns_without_the_clean_scans(pairs, tmp_path):
    """Beside other clean scans its weights have the same bytes; those of RED-CNN do not."""
    other = tmp_path / "other"
    other.mkdir()
    for path in pairs[0].path.parent.glob(f"*{pairs[0].id}*"):
        shutil.copy2(path, other)
    moved = replace(pairs[0], path=other / pairs[0].path.name)
    clean = volumes.read_image(pairing.clean_path(moved.path))
    volumes.write_image(volumes.like(volumes.to_zyx(clean) + np.int16(40), clean), pairing.clean_path(moved.path))
    same = {}
    for name in ("noise2sim", "red-cnn"):
        for rows, out in ((pairs[:1], tmp_path / "a"), ([moved], tmp_path / "b")):
            train_on_pairs(name, rows, restrict(CONFIG, "train_denoiser"), tmp_path / "runs", out / name)
        a, b = ((tmp_path / folder / name / "model.safetensors").read_bytes() for folder in "ab")
        same[name] = a == b
    assert same == {"noise2sim": True, "red-cnn": False}


def test_the_depth_of_map_nn_is_the_one_that_is_best_on_other_scans(pairs, tmp_path, monkeypatch):
    train_on_pairs("map-nn", pairs, restrict(CONFIG, "train_denoiser"), tmp_path, tmp_path / "map-nn")
    clean = read_pair(pairs[1]).clean_zyx
    middle = denoising._middle(clean)
    # In the place of the network: a result that is the farther from the clean scan, the farther the depth from three.
    worse = lambda self, hu: (middle if hu.shape == middle.shape else hu) + np.int16(9 * (self.depth - 3))  # noqa: E731
    monkeypatch.setattr(MapNN, "denoise", worse)
    (row,) = denoise_pairs("map-nn", pairs, restrict(CONFIG, "denoise_pairs"), tmp_path, tmp_path, tmp_path / "out")
    assert row["depth"] == 3


def test_voxels_outside_of_a_window_are_those_of_the_input():
    window = CONFIG.windows.abdomen
    given = np.array([-1000, 0, 2000], np.int16)
    assert keep_outside(np.array([-120, 7, 240], np.int16), given, window).tolist() == [-1000, 7, 2000]


def test_table_4_has_measured_quoted_and_absent_rows():
    measured = pd.DataFrame(
        {"psnr": [30.0, 32.0], "ssim": 0.9, "ssim_range1": 0.8, "simulated": True, "sigma_hu": 25.0, "detail": 0.25}
    )
    table = table4({"meddiff-fm-diffpir": measured}, 100, "demo scans").set_index("method")
    row = table.loc["meddiff-fm-diffpir"]
    assert (row["n"], row["psnr"], row["status"]) == (2, 31.0, "measured")
    assert row["made_with"] == "simulated low dose; demo scans; sigma 25.0 HU, detail kept 0.25"
    assert (table.loc["map-nn", "status"], table.loc["map-nn", "psnr_paper"]) == ("quoted", 28.28)
    assert table.loc["median", "status"] == "absent"


def test_the_rows_of_trained_denoisers_have_the_quoted_numbers_beside_and_say_what_matters():
    measured = pd.DataFrame({"psnr": [30.0], "ssim": 0.9, "ssim_range1": 0.8, "simulated": True})
    scores = {"noise2sim": measured, "map-nn": measured.assign(depth=4.0), "bm3d": measured}
    table = table4(scores, 100, "demo scans").set_index("method")
    assert (table.loc[list(scores), "status"] == "measured").all()
    assert table.loc[list(scores), "psnr_paper"].tolist() == [28.38, 28.28, 27.28]
    assert table.loc["map-nn", "made_with"].endswith("; 4 passes")
    assert "non-commercial use only" in table.loc["bm3d", "made_with"]
