"""Scores of synthetic scans: what they are, in shards, and after a stop."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from meddiff.config import Config, EvaluationConfig
from meddiff.config.stages import restrict
from meddiff.machine.files import write_json
from meddiff.machine.shards import DONE, read_index, sidecar
from meddiff.metrics.extractor import Extractor
from meddiff.stages.evaluate import Scorer, score_records
from meddiff.stages.gather_scores import gather
from meddiff.volumes import volumes
from tests.conftest import make_record

CONFIG = Config(
    evaluation=EvaluationConfig(network="resnet10", weights="random", feature_vox=16, tiles=2, ms_ssim_scales=2),
)
SCANS = 4


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Stored chests, twins with a little noise, and the anatomy itself as the judge's labels."""
    folder = tmp_path_factory.mktemp("scans")
    records = []
    for number in range(SCANS):
        record = make_record(folder / "store" / f"body{number}", number, split="test")
        records.append(record)
        noise = np.random.default_rng(number).normal(0, 20 * (number + 1), record.ct.shape)
        twin = folder / "synthetic" / f"body{number}.nii.gz"
        volumes.write_image(record.as_image((record.ct[:] + noise).astype(np.int16)), twin)
        write_json({"details": {"borders_zyx": [[8], [], []], "tflop": 1.5}}, sidecar(twin))
        volumes.write_image(record.as_image(record.anatomy[:]), folder / "judged" / f"body{number}.nii.gz")
    (folder / "weights").write_text("weights")
    return folder, records


@pytest.fixture(scope="module")
def scorer(scans):
    torch.manual_seed(0)
    folder, _ = scans
    return Scorer(folder / "synthetic", folder / "judged", Extractor("resnet10").eval(), restrict(CONFIG, "evaluate"))


def in_shards(scans, scorer, out, count):
    folder, records = scans
    indices = [out / f"shard-{shard}.tsv" for shard in range(count)]
    for shard, index in enumerate(indices):
        score_records("model", records[shard::count], scorer, folder / "weights", index)
    return indices


def test_scores_are_those_of_each_scan_whatever_the_shards(scans, scorer, tmp_path):
    metrics, features = gather(in_shards(scans, scorer, tmp_path / "one", 1))
    table = pd.DataFrame(metrics)
    assert table["id"].tolist() == [f"body{number}" for number in range(SCANS)]
    assert features.shape == (SCANS, 8, 512)
    assert table["ms_ssim"].is_monotonic_decreasing  # as the noise grows
    assert (table[["dice", "dice_lung", "seams", "tflop", "lpips"]] > 0).all().all()
    assert (table["dice"] == 1).all()
    line, vectors = scorer.score(scans[1][2])
    assert line == metrics[2]
    np.testing.assert_array_equal(vectors, features[2])

    again, same = gather(in_shards(scans, scorer, tmp_path / "three", 3))
    assert again == metrics
    np.testing.assert_array_equal(same, features)


def test_a_stopped_shard_goes_on_and_a_changed_scan_is_scored_anew(scans, scorer, tmp_path, monkeypatch):
    scored, score = [], Scorer.score

    def until_stopped(self, record):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(record.id)
        return score(self, record)

    monkeypatch.setattr(Scorer, "score", until_stopped)
    with pytest.raises(KeyboardInterrupt):
        in_shards(scans, scorer, tmp_path, 1)
    assert scored == ["body0", "body1"]

    monkeypatch.setattr(Scorer, "score", lambda self, record: scored.append(record.id) or score(self, record))
    (index,) = in_shards(scans, scorer, tmp_path, 1)
    assert scored == [f"body{number}" for number in range(SCANS)]
    assert [row.status for row in read_index(index)] == SCANS * [DONE]
    assert len(gather([index])[0]) == SCANS

    folder, records = scans
    record, twin = records[1], folder / "synthetic" / "body1.nii.gz"
    volumes.write_image(record.as_image(record.ct[:]), twin)
    in_shards(scans, scorer, tmp_path, 1)
    assert scored[SCANS:] == ["body1"]
    assert gather([index])[0][1]["ms_ssim"] == pytest.approx(1)


def test_the_scans_themselves_have_the_ceiling_of_the_dice_alone(scans, scorer, tmp_path):
    folder, records = scans
    real = Scorer(None, folder / "judged", scorer.extractor, scorer.config)
    score_records("real", records, real, folder / "weights", tmp_path / "index.tsv")
    metrics, features = gather([tmp_path / "index.tsv"])
    assert not {"ms_ssim", "lpips", "seams"} & set(metrics[0])
    assert {line["dice"] for line in metrics} == {1.0}
    assert features.shape == (SCANS, 8, 512)


def test_a_scan_that_was_not_segmented_is_named_and_left_out(scans, scorer, tmp_path, caplog):
    folder, records = scans
    shutil.copytree(folder / "judged", tmp_path / "judged")
    (tmp_path / "judged" / "body1.nii.gz").unlink()
    fewer = replace(scorer, judged=tmp_path / "judged", synthetic=None)
    score_records("real", records, fewer, folder / "weights", tmp_path / "index.tsv")
    assert [line["id"] for line in gather([tmp_path / "index.tsv"])[0]] == ["body0", "body2", "body3"]
    assert "evaluate real: 1 of 4 scans were not drawn or segmented: body1" in caplog.text


def test_no_scan_is_no_score(tmp_path, scorer):
    score_records("model", [], scorer, tmp_path / "weights", tmp_path / "index.tsv")
    metrics, features = gather([tmp_path / "index.tsv"])
    assert metrics == []
    assert len(features) == 0
