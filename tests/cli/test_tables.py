"""`meddiff stage tables`: the methods of a table are compared on the same cases."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from meddiff.cli.main import app
from meddiff.config import DENOISERS, GENERATED, INPAINTED, ORIGINS, REAL, SUPER_RESOLVERS, Region, parse_config
from meddiff.datasets.index import Case, write_manifest
from meddiff.machine.files import write_json
from meddiff.metrics.distribution import distances
from meddiff.report.layout import PREPARATION, Results
from meddiff.report.table4 import METRICS as TABLE_4_METRICS

CASES = list("abcdef")


def write(rows, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def table(results, name):
    return pd.read_csv(results.tables / f"{name}.csv")


@pytest.fixture
def results(tmp_path):
    """Metrics of six cases, of which `ddpm`, one denoiser, one lesion model and one super-resolver lack one each."""
    layout, rng = Results(tmp_path), np.random.default_rng(0)
    config = parse_config({"data": {"datasets": [{"name": "btcv", "root": str(tmp_path)}]}}, "test")
    lesion = tmp_path / "lesion.nii.gz"
    write_manifest(
        [Case("msd-lung", "1", tmp_path, Region.CHEST, "downstream", "test", 0, lesion=lesion)], layout.manifest
    )
    for stage in PREPARATION:
        path = tmp_path / "data" / stage / "shard-000.tsv"
        path.parent.mkdir()
        path.write_text("id\tstatus\tpath\tsha256\tseconds\treason\n")
    write_json({"made_with": "MedicalNet resnet50"}, layout.extractor_source)

    def cases(lacks):
        return [case for case in CASES if case != lacks]

    for method in ("meddiff-fm", "ddpm", "real"):
        ids = cases("b" if method == "ddpm" else "")
        scores = {"ms_ssim": 0.5, "lpips": 0.1, "dice_lung": 0.8}
        rows = [{"id": i, "region": "chest", "dice": CASES.index(i) / 10, **scores} for i in ids]
        write(rows, layout.metrics(method))
        np.savez(layout.features(method), features=rng.normal(size=(len(ids), 2, 4)))
    for method in DENOISERS:
        scores = {metric: 1.0 for metric in TABLE_4_METRICS} | {"simulated": True, "region": "chest", "sigma_hu": 20.0}
        write(
            [{"id": i, **scores} for i in cases("c" if method == "bm3d" else "")],
            layout.denoising_metrics(method),
        )
    write(
        [{"dataset": "msd-lung", "method": "x", "n": 2, "auc": 0.5, "note": "; one is missing"}], layout.anomaly_metrics
    )
    kinds = [(REAL, REAL), *((origin, kind) for origin in ORIGINS for kind in (GENERATED, INPAINTED))]
    rows = [
        {"id": i, "patient": i, "origin": origin, "kind": kind, "dice": 0.5, "ms_ssim": 0.5, "lpips": 0.1}
        for origin, kind in kinds
        for i in cases("d" if (origin, kind) == ("scratch", INPAINTED) else "")
    ]
    write(rows, layout.lesion_metrics("msd-lung"))
    np.savez(layout.lesion_metrics("msd-lung").with_suffix(".npz"), features=rng.normal(size=(len(rows), 2, 4)))
    study = [{"id": i, "training": "real", "real": 1, "generated": 0, "dice": 0.5} for i in CASES]
    write(study, layout.augmentation_metrics("msd-lung"))
    for method in SUPER_RESOLVERS:
        rows = [
            {"id": i, "psnr": 30.0, "ssim": 0.9, "simulated": True} for i in cases("e" if method == "diffpir" else "")
        ]
        write(rows, layout.super_resolution_metrics(method))
    file = tmp_path / "config.yaml"
    write_json(config.model_dump(mode="json"), file)
    done = CliRunner().invoke(
        app, ["stage", "tables", "--config", str(file), "--results", str(tmp_path)], catch_exceptions=False
    )
    assert done.exit_code == 0
    return layout


def test_table_3_compares_the_scans_that_all_models_have(results):
    third = table(results, "table3")
    chest = third[third["region"] == "chest"].set_index("method")
    assert chest["n"].to_dict() == {"meddiff-fm": 5, "ddpm": 5, "real": 5}
    assert chest["dice"].tolist() == pytest.approx([1.4 / 5] * 3)  # without b, which had 0.1
    kept = [CASES.index(case) for case in CASES if case != "b"]
    real, ours = (np.load(results.features(name))["features"][kept] for name in ("real", "meddiff-fm"))
    assert chest.loc["meddiff-fm", "fid"] == pytest.approx(distances(real, ours)["fid"], rel=1e-4)
    assert chest["made_with"].str.endswith("; Table 3 on the 5 of 6 cases that all have: ddpm lacks 1 (b)").all()
    organs = table(results, "table3_organs")
    assert (organs["n"] == 5).all()
    assert "ddpm lacks 1 (b)" in (results.tables / "table3.md").read_text()


def test_tables_4_and_of_super_resolution_compare_the_scans_that_all_methods_have(results):
    fourth = table(results, "table4")
    measured = fourth[fourth["status"] == "measured"]
    assert set(measured["n"]) == {5}
    assert (
        measured["made_with"]
        .str.contains("Table 4 on the 5 of 6 cases that all have: bm3d lacks 1 (c)", regex=False)
        .all()
    )
    thin = table(results, "table_sr")
    thin = thin[thin["status"] == "measured"]
    assert set(thin["n"]) == {5}
    assert thin["made_with"].str.contains("diffpir lacks 1 (e)", regex=False).all()


def test_table_5_says_what_its_scores_lack(results):
    fifth = table(results, "table5").set_index("method")
    assert fifth.loc["x", "made_with"].endswith("; one is missing")


def test_table_6_compares_the_lesions_that_all_models_have(results):
    sixth = table(results, "table6")
    ours = sixth[sixth["dataset"] == "msd-lung"]
    assert ours["n"].tolist() == [5, 5, 5]
    words = "Table 6, msd-lung, on the 5 of 6 cases that all have: scratch inpainted lacks 1 (d)"
    assert ours["made_with"].str.contains(words, regex=False).all()
