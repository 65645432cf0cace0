"""The tables: the paper beside ours, absent rows said to be absent, nothing filled in."""

import numpy as np
import pandas as pd
import pytest

from meddiff.config import SUPER_RESOLVERS, DataConfig, DatasetConfig, Region
from meddiff.datasets.index import Case
from meddiff.machine.files import write_json
from meddiff.machine.shards import COLUMNS
from meddiff.machine.tsv import write_tsv
from meddiff.metrics.distribution import split_half
from meddiff.report import table1, table2, table3, table5, table6, table_sr, table_v3
from meddiff.report.tables import bootstrap_interval, for_people, write_table


@pytest.fixture
def metrics():
    real = pd.DataFrame({"id": ["a", "b"], "region": ["chest", "chest"], "dice": [0.9, 0.8], "dice_lung": [0.9, 0.8]})
    fake = real.assign(dice=[0.5, 0.7], dice_lung=[0.5, 0.7], ms_ssim=[0.2, 0.4], lpips=[0.01, 0.03])
    return {"meddiff-fm": fake, "ddpm": fake.assign(dice=[0.1, 0.2]), "real": real}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(2, 8, 16)) for name in ("meddiff-fm", "ddpm", "real")}


def row(table, **keys):
    chosen = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_table_3_holds_our_numbers_beside_the_papers(metrics, features):
    table = table3.table3(metrics, features, 200, "phantoms")
    ours = row(table, region="chest", method="meddiff-fm")
    assert (ours["n"], ours["status"], ours["made_with"]) == (2, "measured", "phantoms")
    assert ours["dice"] == pytest.approx(0.6)
    assert ours["dice_lo"] == 0.5 <= ours["dice"] <= ours["dice_hi"] == 0.7
    assert (ours["dice_paper"], ours["fid_paper"]) == (0.75, 0.1853)
    assert ours["fid"] > 0
    ceiling = row(table, region="chest", method="real")
    assert ceiling["dice"] == pytest.approx(0.85)
    assert np.isnan(ceiling["ms_ssim"])


def test_the_real_row_has_the_floor_of_fid_and_mmd():
    rng = np.random.default_rng(0)
    scans = pd.DataFrame({"id": range(40), "region": ["chest", "abdomen"] * 20, "dice": 0.9})
    shift = np.where(scans["region"] == "chest", 0, 3)[:, None, None]
    features = {name: rng.normal(size=(40, 2, 4)) + shift for name in ("meddiff-fm", "real")}
    table = table3.table3({"meddiff-fm": scans, "real": scans}, features, 10, "phantoms")
    for region in ("chest", "abdomen", "average"):
        floor, perfect = (row(table, region=region, method=method) for method in ("real", "meddiff-fm"))
        assert 0 < perfect["fid"] < 2 * floor["fid"]
        assert abs(floor["mmd"]) < 0.02
    both = split_half(features["real"])["fid"]
    assert row(table, region="average", method="real")["fid"] == pytest.approx(both)  # pooled, as the models'


def test_a_region_without_scans_is_absent(metrics, features):
    table = table3.table3(metrics, features, 200, "phantoms")
    absent = row(table, region="han", method="meddiff-fm")
    assert (absent["n"], absent["status"], absent["made_with"]) == (0, "absent", "")
    assert np.isnan(absent[["ms_ssim", "lpips", "fid", "mmd", "dice"]].astype(float)).all()
    assert absent["dice_paper"] == 0.89
    assert row(table, region="average", method="meddiff-fm")["dice"] == pytest.approx(0.6)


def test_the_organ_table_has_the_ceiling_beside(metrics):
    table = table3.organ_table(metrics, 200, "phantoms")
    lung = row(table, structure="lung", method="meddiff-fm")
    assert (lung["dice"], lung["ceiling"], lung["judge"]) == (0.6, pytest.approx(0.85), "TotalSegmentator")


def test_tables_are_written_for_programs_and_for_people(metrics, features, tmp_path):
    table = table3.table3(metrics, features, 200, "phantoms & 100 %")
    write_table(table, table3.METRICS, tmp_path / "t", "A caption of 5 %.")
    back = pd.read_csv(tmp_path / "t.csv")
    assert list(back.columns) == list(table.columns)
    assert back["dice"].iloc[0] == pytest.approx(table["dice"].iloc[0], nan_ok=True)
    markdown, latex = (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()
    assert "0.6000 [0.5000, 0.7000]" in markdown
    assert "absent" in markdown
    assert "| fid ↓ " in markdown
    assert "| dice ↑ " in markdown
    assert r"fid $\downarrow$" in latex
    assert r"dice $\uparrow$" in latex
    assert r"A caption of 5 \%." in latex
    assert r"phantoms \& 100 \%" in latex


def shard_index(folder, stage, rows):
    """Write a stage's index; `rows` are id -> status."""
    path = folder / f"{stage}.tsv"
    blank = {"sha256": "", "seconds": 0, "reason": ""}
    write_tsv([blank | {"id": i, "status": s, "path": folder / i / "meta.json"} for i, s in rows], COLUMNS, path)
    return [path]


def test_table_1_counts_what_was_found_prepared_and_quarantined(tmp_path):
    def index(stage, rows):
        return shard_index(tmp_path, stage, rows)

    entries = (
        DatasetConfig(name="btcv", root=tmp_path),
        DatasetConfig(name="mine", root=tmp_path, region=Region.CHEST),
    )
    cases = [
        Case(dataset, case, tmp_path, Region.CHEST, "pretraining", "train", 0)
        for dataset, case in (("btcv", "1"), ("btcv", "2"), ("mine", "1"))
    ]
    indices = {
        "resample": index("resample", [("btcv_1", "done"), ("btcv_2", "quarantined"), ("mine_1", "done")]),
        "store": index("store", [("btcv_1_abdomen", "done"), ("mine_1_chest", "done"), ("mine_1_abdomen", "done")]),
    }
    table = table1.table1(DataConfig(datasets=entries), cases, indices)
    btcv = row(table, dataset="BTCV")
    assert tuple(btcv[["n", "cases", "cases_paper", "quarantined", "regions", "status"]]) == (
        1,
        2,
        30,
        1,
        1,
        "measured",
    )
    assert row(table, dataset="mine")["regions"] == 2
    assert row(table, dataset="WORD")["status"] == "absent"
    assert np.isnan(row(table, dataset="WORD")["cases"])
    total = row(table, dataset="Total")
    assert (total["cases_paper"], total["cases"], total["n"]) == (5376, 3, 2)


def test_table_2_has_the_papers_counts_and_nothing_else_without_data():
    second = table2.table2(DataConfig(), [], {"store": []})
    papers = second.dropna(subset="cases_paper").set_index(["task", "dataset"])["cases_paper"]
    assert papers.to_dict() == {
        ("image denoising", "Mayo 2016"): 10,
        ("anomaly detection", "MSD-Lung"): 63,
        ("anomaly detection", "MSD-Liver"): 131,
        ("lesion generation and inpainting", "MSD-Lung"): 63,
        ("lesion generation and inpainting", "MSD-Liver"): 131,
        ("lesion generation and inpainting", "MED-LN"): 90,
        ("lesion generation and inpainting", "ABD-LN"): 86,
    }
    assert row(second, task="super-resolution")["dataset"] == "RPLHR-CT"
    assert set(second["status"]) == {"absent"}
    assert (second["n"] == 0).all()
    assert second[table2.METRICS].isna().all(axis=None)


def test_table_2_counts_cases_by_split_and_lesions_and_says_who_divided_them(tmp_path):
    def lung(number, split):
        origin = "a random split by patient, seed 0"
        return Case("msd-lung", str(number), tmp_path, Region.CHEST, "downstream", split, 0, split_origin=origin)

    cases = [lung(number, split) for number, split in enumerate(["train", "train", "train", "test", "test"])]
    done, refused = ("done",) * 3, ("quarantined",)
    ids = [f"msd-lung_{number}_chest" for number in range(4)]
    for name, lesions in zip(ids, (2, 1, 0), strict=False):
        write_json({"details": {"lesions": lesions}}, tmp_path / name / "meta.json.json")
    indices = {
        "resample": shard_index(tmp_path, "resample", [("msd-lung_4", "quarantined")]),
        "store": shard_index(tmp_path, "store", zip(ids, done + refused, strict=True)),
    }
    second = table2.table2(DataConfig(datasets=(DatasetConfig(name="msd-lung", root=tmp_path),)), cases, indices)
    for task in ("anomaly detection", "lesion generation and inpainting"):
        found = row(second, task=task, dataset="MSD-Lung")
        assert tuple(found[["n", "cases", "cases_paper", "prepared", "quarantined"]]) == (3, 5, 63, 3, 2)
        assert tuple(found[["train", "val", "test", "lesions"]]) == (3, 0, 0, 3)
        assert (found["status"], found["made_with"]) == ("measured", "test set by a random split by patient, seed 0")
    write_table(second, table2.METRICS, tmp_path / "table2", table2.CAPTION)
    (line,) = [s for s in (tmp_path / "table2.md").read_text().splitlines() if "MSD-Lung" in s and "anomaly" in s]
    assert [cell.strip() for cell in line.split("|")[3:6]] == ["3", "5", "63"]


def test_own_lesions_are_a_row_of_their_own(tmp_path):
    entry = DatasetConfig(name="mine", root=tmp_path, region=Region.CHEST, lesion="{name}")
    second = table2.table2(DataConfig(datasets=(entry,)), [], {"store": []})
    assert row(second, dataset="mine")["task"] == "lesion generation and inpainting"


def test_bootstrap_interval():
    low, high = bootstrap_interval(np.array([0.0, 1.0] * 50), 2000)
    assert low == pytest.approx(0.4, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)
    assert np.isnan(bootstrap_interval(np.array([0.5, np.nan]), 10)).all()


def test_counts_are_whole_and_an_absent_metric_leaves_the_papers_value_as_it_is():
    nan = float("nan")
    table = pd.DataFrame(
        {"cases": [1.0, nan], "cases_paper": [2.0, 50.0], "dice": [nan, nan], "dice_paper": [0.7821, 1.0]}
    )
    text = for_people(table, ("cases", "dice"))
    assert text["cases"].tolist() == ["1", "-"]
    assert text["cases (paper)"].tolist() == ["2", "50"]
    assert text["dice ↑"].tolist() == ["-", "-"]
    assert text["dice (paper)"].tolist() == ["0.7821", "1.0000"]


def test_table_5_has_the_papers_rows_and_ours():
    ours = {"dataset": "demo-lung-lesions", "method": "meddiff-fm (900)", "n": 2, "auc": 0.9, "organ_auc": 0.8}
    table = table5.table5(pd.DataFrame([ours]), "demo scans")
    measured = row(table, dataset="demo-lung-lesions", method="meddiff-fm (900)")
    assert (measured["n"], measured["auc"], measured["organ_auc"], measured["status"]) == (2, 0.9, 0.8, "measured")
    assert np.isnan(measured["auc_paper"])
    absent = row(table, dataset="msd-lung", method="meddiff-fm (900)")
    assert (absent["n"], absent["auc_paper"], absent["status"]) == (0, 0.9785, "absent")
    assert np.isnan(absent["auc"])
    assert (table5.table5(pd.DataFrame(columns=["dataset", "method", "n"]), "")["status"] == "absent").all()


@pytest.fixture
def lesion_scores():
    def rows(origin, kind, dice, **extra):
        return [
            {"id": f"a-{i}", "patient": "a", "origin": origin, "kind": kind, "dice": d, **extra}
            for i, d in enumerate(dice)
        ]

    compared = {"ms_ssim": 0.5, "lpips": 0.01}
    scores = rows("real", "real", [0.8, 0.6])
    for origin, shift in (("scratch", 0.0), ("fine-tune", 0.2)):
        scores += rows(origin, "generated", [0.1 + shift, 0.3 + shift], **compared)
        scores += rows(origin, "inpainted", [0.5 + shift, 0.7 + shift])
    return pd.DataFrame(scores)


def test_table_6_tells_generation_from_inpainting_and_has_the_papers_datasets(lesion_scores):
    features = np.random.default_rng(0).normal(size=(len(lesion_scores), 2, 8))
    # Two real patches have no halves of two.
    table = table6.table6({"demo": lesion_scores}, {"demo": features}, 200, "phantoms")
    real, ours = (row(table, dataset="demo", method=method) for method in ("real", "fine-tune"))
    assert (ours["n"], ours["patients"], ours["status"], ours["made_with"]) == (2, 1, "measured", "phantoms")
    assert ours[["ms_ssim", "lpips", "dice", "inpainting_dice"]].tolist() == pytest.approx([0.5, 0.01, 0.4, 0.8])
    assert (real["dice"], real["inpainting_dice"]) == (0.7, 0.7)
    assert np.isnan(real[["ms_ssim", "lpips", "fid", "mmd"]].astype(float)).all()
    assert ours["fid"] > 0
    absent = row(table, dataset="msd-lung", method="fine-tune")
    assert (absent["status"], absent["n"], absent["inpainting_dice_paper"]) == ("absent", 0, 0.77)
    assert np.isnan(absent["dice"])
    assert len(table) == 3 * 5


def test_fid_and_mmd_of_table_6_are_those_of_the_generated_patches_alone(lesion_scores):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(lesion_scores), 40, 8))
    changed = features.copy()
    changed[(lesion_scores["kind"] == "inpainted").to_numpy()] += 5
    first, second = (table6.table6({"demo": lesion_scores}, {"demo": f}, 10, "") for f in (features, changed))
    pd.testing.assert_frame_equal(first, second)
    far = features + 5.0 * (lesion_scores["kind"] == "generated").to_numpy()[:, None, None]
    third = table6.table6({"demo": lesion_scores}, {"demo": far}, 10, "")
    assert (
        row(third, dataset="demo", method="scratch")["fid"] > 10 * row(first, dataset="demo", method="scratch")["fid"]
    )


def test_the_augmentation_study_counts_its_training_images(lesion_scores):
    study = pd.DataFrame(
        {
            "id": ["a", "b"] * 2,
            "training": ["real"] * 2 + ["real and generated"] * 2,
            "dice": [0.4, 0.6, 0.5, 0.9],
            "real": 3,
            "generated": [0, 0, 6, 6],
        }
    )
    table = table6.augmentation_table({"demo": study, "empty": pd.DataFrame()}, 200, "phantoms")
    ours = row(table, dataset="demo", training="real and generated")
    assert (ours["n"], ours["real"], ours["generated"], ours["dice"]) == (2, 3, 6, 0.7)
    assert len(table) == 2


def test_the_table_of_super_resolution_says_what_the_thick_slices_are():
    scores = pd.DataFrame({"psnr": [30.0, 32.0], "ssim": [0.9, 0.8], "simulated": [True, True]})
    table = table_sr.table_sr({name: scores for name in SUPER_RESOLVERS} | {"linear": scores[:0]}, 5, 200, "phantoms")
    ours = row(table, data="simulated", method="diffpir")
    assert (ours["n"], ours["psnr"], ours["factor"]) == (2, 31.0, 5)
    assert ours["made_with"] == "simulated thick slices; phantoms"
    assert row(table, data="simulated", method="linear")["status"] == "absent"
    assert (table.loc[table["data"] == "rplhr-ct", "status"] == "absent").all()
    measured = {name: scores.assign(simulated=False) for name in SUPER_RESOLVERS}
    table = table_sr.table_sr(measured, 5, 200, "own data")
    assert (table["data"] == "rplhr-ct").all()
    assert row(table, method="diffpir")["made_with"] == "measured thick slices; own data"


def test_v3s_ablation_has_all_its_rows_with_what_was_trained_beside_its_values(metrics, features):
    table = table_v3.ablation(table3.table3(metrics, features, 200, "phantoms"))
    assert list(table.loc[table["region"] == "average", "method"]) == [
        *("ddpm", "multi-level", "coordinates", "meddiff-fm")
    ]
    ours = row(table, region="chest", method="meddiff-fm")
    assert (ours["n"], ours["dice"], ours["dice_paper"], ours["status"]) == (2, pytest.approx(0.6), 0.7076, "measured")
    pooled = row(table, region="average", method="ddpm")
    assert pooled["fid"] > 0
    assert (pooled["fid_paper"], pooled["dice_paper"]) == (0.1096, 0.6466)
    between = row(table, region="average", method="coordinates")
    assert (between["n"], between["fid_paper"], between["status"]) == (0, 0.0667, "absent")
    assert np.isnan(between["fid"])


def test_the_rows_of_bmad_are_quoted_and_v3s_is_absent():
    table = table_v3.bmad_liver()
    assert row(table, method="meddiff-fm")["status"] == "absent"
    assert row(table, method="meddiff-fm")["image_auroc_paper"] == 0.8525
    others = table[table["method"] != "meddiff-fm"]
    assert (others["status"] == "quoted").all()
    assert others["image_auroc_paper"].max() == row(table, method="simplenet")["image_auroc_paper"] == 0.7228
    assert table[["image_auroc", "pixel_auroc", "pro"]].isna().all().all()
