"""Pairs of low and normal dose, and the methods of Table 4 on them."""

import numpy as np
import pandas as pd
import pytest

from meddiff.config import DENOISING_NETWORKS, FILTERS, LowDoseConfig, RedCnnConfig, parse_config
from meddiff.data import volumes
from meddiff.data.index import Case
from meddiff.data.pairs import choose_records, is_simulated, read_pair, write_pairs
from meddiff.data.shards import DONE, Row, read_index
from meddiff.evaluation.denoising import MODEL_PREFIX, denoise_pairs, filter_pairs, keep_outside, train_red_cnn
from meddiff.report.table4 import table4
from meddiff.stages import restrict
from meddiff.tasks.baselines import BASELINES
from meddiff.tasks.denoising import METHODS
from tests.conftest import make_record

CONFIG = parse_config({}, "test").model_copy(
    update={"low_dose": LowDoseConfig(photons=2e4), "red_cnn": RedCnnConfig(width=4, steps=3, batch_size=2)}
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Store rows, the manifest's cases and the resampled scans of three chests."""
    folder = tmp_path_factory.mktemp("data")
    rows, cases, resampled = [], [], []
    for seed, split in enumerate(("train", "val", "test")):
        record = make_record(folder / "store" / f"phantom_body{seed}_chest", seed, split=split)
        ct = volumes.to_zyx(record.as_image(record.ct[:]))
        ct[:2] = -1024  # below the region's window, where the store clips
        path = folder / f"phantom_body{seed}.nii.gz"
        volumes.write_image(record.as_image(ct), path)
        rows.append(Row(record.meta.id, DONE, record.folder / "meta.json", "0", 0.0, ""))
        cases.append(Case("phantom", f"body{seed}", path, record.meta.region, "pretraining", split, 0))
        resampled.append(Row(f"phantom_body{seed}", DONE, path, "0", 0.0, ""))
    return rows, cases, resampled


@pytest.fixture(scope="module")
def pairs(stored, tmp_path_factory):
    rows, cases, resampled = stored
    out = tmp_path_factory.mktemp("pairs")
    chosen = choose_records(rows, cases, 20)
    return write_pairs(chosen, resampled, restrict(CONFIG, "low-dose"), out, out / "index.tsv")


@pytest.fixture(scope="module")
def folders(stored):
    return {row.id: row.path.parent for row in stored[0]}


def test_a_few_scans_of_each_split_are_simulated(stored, pairs, folders):
    rows, cases, _ = stored
    assert len(choose_records(rows, cases, 1)) == 3
    assert len(choose_records(rows * 2, cases, 1)) == 3
    assert all(is_simulated(row) for row in pairs)
    pair = read_pair(pairs[0], folders)
    assert pair.clean_zyx.min() == -1024  # not clipped to the window
    assert 5 < (pair.noisy_zyx - pair.clean_zyx.astype(float)).std() < 100


def test_real_low_dose_scans_take_the_place_of_simulated_ones(stored, tmp_path):
    rows, cases, resampled = stored
    quarter = volumes.to_zyx(volumes.read_image(resampled[2].path)) + np.int16(30)
    image = volumes.like(quarter, volumes.read_image(resampled[2].path))
    volumes.write_image(image, tmp_path / "quarter.nii.gz")
    with_partner = [*cases[:2], Case(**{**cases[2].__dict__, "low_dose": tmp_path / "quarter.nii.gz"})]
    chosen = choose_records(rows, with_partner, 20)
    assert [row.id for row, _ in chosen] == ["phantom_body2_chest"]
    (row,) = write_pairs(chosen, resampled, restrict(CONFIG, "low-dose"), tmp_path, tmp_path / "index.tsv")
    pair = read_pair(row, {row.id: rows[2].path.parent})
    assert not is_simulated(row)
    inner = pair.clean_zyx > -1024
    assert (np.abs(pair.noisy_zyx[inner] - pair.clean_zyx[inner] - 30) <= 1).all()


@pytest.mark.parametrize("method", ["ldct", "median", "gaussian", "red-cnn"])
def test_a_method_is_scored_on_the_test_scans_alone(pairs, folders, tmp_path, method):
    if method in FILTERS:
        (row,) = filter_pairs(method, pairs, folders, restrict(CONFIG, "filter"), tmp_path / method)
    else:
        train_red_cnn(pairs, folders, restrict(CONFIG, "red-cnn"), tmp_path / "red-cnn")
        networks = (restrict(CONFIG, "denoise"), tmp_path, tmp_path / "red-cnn")
        (row,) = denoise_pairs(method, pairs, folders, *networks, tmp_path / method)
    assert row["id"] == "phantom_body2_chest"
    assert row["simulated"]
    assert 10 < row["psnr"] < 60
    assert 0 < row["ssim_range1"] <= row["ssim"] <= 1


def test_without_pairs_to_learn_from_a_row_stays_empty(pairs, folders, tmp_path):
    assert filter_pairs("median", pairs[2:], folders, restrict(CONFIG, "filter"), tmp_path / "median") == []
    networks = (restrict(CONFIG, "denoise"), tmp_path, tmp_path / "nowhere")
    assert denoise_pairs("red-cnn", pairs, folders, *networks, tmp_path / "red-cnn") == []
    assert [read_index(path / "index.tsv") for path in sorted(tmp_path.iterdir())] == [[], []]


def test_the_rows_of_table_4_are_the_methods_there_are():
    assert set(FILTERS) == {"ldct", *BASELINES}
    assert set(DENOISING_NETWORKS) == {"red-cnn", *(f"{MODEL_PREFIX}{name}" for name in METHODS)}


def test_voxels_outside_of_a_window_are_those_of_the_input():
    window = CONFIG.windows.abdomen
    given = np.array([-1000, 0, 2000], np.int16)
    assert keep_outside(np.array([-120, 7, 240], np.int16), given, window).tolist() == [-1000, 7, 2000]


def test_table_4_has_measured_quoted_and_absent_rows():
    measured = pd.DataFrame(
        {"psnr": [30.0, 32.0], "ssim": 0.9, "ssim_range1": 0.8, "simulated": True, "sigma_hu": 25.0}
    )
    table = table4({"meddiff-fm-diffpir": measured}, 100, "demo scans").set_index("method")
    row = table.loc["meddiff-fm-diffpir"]
    assert (row["n"], row["psnr"], row["status"]) == (2, 31.0, "measured")
    assert row["made_with"] == "simulated low dose; demo scans; sigma 25.0 HU"
    assert (table.loc["map-nn", "status"], table.loc["map-nn", "psnr_paper"]) == ("quoted", 28.28)
    assert table.loc["median", "status"] == "absent"
