"""Scores of anomaly maps on stored scans with lesions: what counts, and which cases choose the threshold."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from meddiff.config import SUPERVISED, AnomalyConfig, Config, Organ
from meddiff.config.stages import restrict
from meddiff.machine.shards import DONE, read_index
from meddiff.report import pictures
from meddiff.stages import detect as anomaly
from meddiff.stages import score_anomaly as anomaly_scores
from meddiff.stages.detect import (
    BRIGHTER,
    INTENSITY,
    choosing,
    learned_and_tested,
    organ_records,
    predict_supervised,
    read_case,
    write_maps,
)
from meddiff.stages.score_anomaly import score_all
from meddiff.store.query import labelled
from meddiff.store.record import Record, write_record
from meddiff.volumes import volumes
from meddiff.volumes.hu import normalise
from tests.conftest import make_record
from tests.tasks.healthy import HealthySampler

CLOSING_MM = 10.0
CONFIG = Config(anomaly=AnomalyConfig(lung_timesteps=(900,)))


def with_lesion(folder, seed, split, lesion_hu, organ=Organ.LUNG):
    """A chest with a lesion in its lung, and one outside of it, which does not count."""
    record = make_record(folder, seed, split=split, lesion_organ=organ)
    anatomy, hu = record.anatomy[:], record.ct[:]
    depth = ndimage.distance_transform_edt(np.isin(anatomy, range(10, 15)))
    z, y, x = np.unravel_index(depth.argmax(), depth.shape)
    lesion = np.zeros(hu.shape, np.uint8)
    lesion[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 1
    hu[lesion > 0] = lesion_hu
    lesion[0, 0, 0] = 1
    write_record(folder, record.meta, hu, anatomy, 16, lesion)
    return Record(folder)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Three chests with a lesion that is darker than the vessels of the lung, and one without labels."""
    store = tmp_path_factory.mktemp("store")
    splits = ("train", "val", "test")
    found = [with_lesion(store / split, seed, split, -650) for seed, split in enumerate(splits)]
    make_record(store / "none", 5)
    return [*found, Record(store / "none")]


@pytest.fixture(scope="module")
def maps(records, tmp_path_factory):
    """Maps of a model that knows the mean of each label, of the training scan."""
    out = tmp_path_factory.mktemp("maps")
    record = records[0]
    scaled, anatomy = normalise(record.ct[:], record.meta.window), record.anatomy[:]
    sampler = HealthySampler([scaled[anatomy == i].mean() if (anatomy == i).any() else -1 for i in range(119)])
    sampler.checksum = "weights"
    index = out / "index.tsv"
    write_maps(organ_records(records), sampler, restrict(CONFIG, "anomaly_maps"), index)
    assert [row.status for row in read_index(index)] == 4 * [DONE]  # validation and test, masked and whole
    return out


def test_lesions_of_no_organ_have_no_maps_and_no_row_but_a_judge(records, maps, tmp_path, monkeypatch):
    """Lymph nodes: some of them overlap a closed lung mask, which says nothing of anomalies in lungs."""
    nodes = [with_lesion(tmp_path / split, seed, split, -650, None) for seed, split in ((0, "train"), (2, "test"))]
    assert labelled(nodes) == nodes
    assert organ_records([*records, *nodes]) == records[:3]
    assert score_all(nodes, restrict(CONFIG, "score_anomaly"), maps, tmp_path, tmp_path / "scores") == []
    trained = judges(monkeypatch)
    predict_supervised(nodes, restrict(Config(), "supervised"), tmp_path / "work", tmp_path / "out")
    assert trained == {"phantom": (["train"], ["test"])}


def judges(monkeypatch):
    """Put in the place of nnU-Net what tells which cases each dataset's network learned and predicted."""
    trained = {}

    class Judge:
        def __init__(self, folder, *_):
            self.name = folder.name

        def train(self, cases):
            trained[self.name] = ([case_id for case_id, *_ in cases],)

        def predict(self, images, out, probability=False):
            trained[self.name] += (list(images),)

    monkeypatch.setattr(anomaly, "NnUNet", Judge)
    return trained


def test_nnunet_learns_from_all_but_the_test_scans(records, tmp_path, monkeypatch):
    trained = judges(monkeypatch)
    predict_supervised(records, restrict(Config(), "supervised"), tmp_path / "work", tmp_path / "out")
    assert trained == {"phantom": (["train", "val"], ["test"])}


def test_the_training_scans_choose_the_threshold_where_there_is_no_other(records):
    learned, tested = learned_and_tested(records[:3])
    assert [record.id for record in choosing(learned)] == ["val"]
    assert choosing(learned[:1]) == records[:1]
    assert [record.id for record in tested] == ["test"]


def test_only_scans_with_labels_count_and_only_lesions_in_the_organ(records):
    assert [record.id for record in labelled(records)] == ["train", "val", "test"]
    case = read_case(records[0], CLOSING_MM)
    assert case.organ == Organ.LUNG
    assert case.lesion_zyx.sum() == 27
    assert records[0].lesion[:].sum() == 28


def test_a_map_finds_what_is_not_bright_and_intensity_does_not(records, maps, tmp_path):
    scored = score_all(records, restrict(CONFIG, "score_anomaly"), maps, tmp_path, tmp_path / "scores")
    table = {row["method"]: row for row in scored}
    assert set(table) == {
        "meddiff-fm (900)",
        "meddiff-fm (900), whole scan",
        f"meddiff-fm (900), {BRIGHTER}",
        INTENSITY,
    }
    found, bright = table["meddiff-fm (900)"], table[INTENSITY]
    assert found["n"] == 1
    assert found["organ_auc"] > 0.95
    assert found["organ_auc"] > bright["organ_auc"]
    assert found["auc"] >= found["organ_auc"]  # the voxels outside of the organ are trivial
    assert (found["found"], found["lesions"]) == (1, 1)
    assert 0.5 < found["sen"] <= 1


def test_the_threshold_does_not_see_the_test_scans(records, maps, tmp_path):
    config = restrict(CONFIG, "score_anomaly")
    everything = score_all(records, config, maps, tmp_path, tmp_path / "scores")
    without_test = score_all(records[:2], config, maps, tmp_path, tmp_path / "scores")
    for a, b in zip(everything, without_test, strict=True):
        assert a["threshold"] == b["threshold"]
        assert b["n"] == 0


def test_a_stopped_scoring_goes_on_and_a_changed_map_is_scored_anew(records, maps, tmp_path, monkeypatch):
    config, own_maps = restrict(CONFIG, "score_anomaly"), tmp_path / "maps"
    shutil.copytree(maps, own_maps)
    more = with_lesion(tmp_path / "store" / "more", 2, "test", -650)
    shutil.copytree(maps / "test", own_maps / "more")
    scans, read = [*records, more], []
    expected = score_all(scans, config, own_maps, tmp_path, tmp_path / "at-once", threads=2)

    def until_stopped(record, closing_mm):
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(record.id)
        return read_case(record, closing_mm)

    monkeypatch.setattr(anomaly_scores, "read_case", until_stopped)
    with pytest.raises(KeyboardInterrupt):
        score_all(scans, config, own_maps, tmp_path, tmp_path / "scores")
    assert read == ["val", "test"]
    monkeypatch.setattr(anomaly_scores, "read_case", lambda record, mm: read.append(record.id) or read_case(record, mm))
    assert score_all(scans, config, own_maps, tmp_path, tmp_path / "scores") == expected
    assert read == ["val", "test", "more"]

    file = own_maps / "test" / "900.nii.gz"
    volumes.write_image(volumes.read_image(file) * 0.5, file)
    assert score_all(scans, config, own_maps, tmp_path, tmp_path / "scores") != expected
    assert read == ["val", "test", "more", "test"]  # no other, since the thresholds are the same


@pytest.mark.parametrize("lacking", ["a map", SUPERVISED])
def test_all_rows_are_of_the_test_scans_that_have_every_map_and_prediction(records, maps, tmp_path, lacking):
    more = with_lesion(tmp_path / "store" / "more", 2, "test", -650)
    shutil.copytree(maps, tmp_path / "maps")
    shutil.copytree(maps / "test", tmp_path / "maps" / "more")
    for record in (records[2], more):
        case = read_case(record, CLOSING_MM)
        found = record.as_image(case.lesion_zyx.astype(np.float32))
        volumes.write_image(found, probability_of(record, tmp_path))
    config, scans = restrict(CONFIG, "score_anomaly"), [*records, more]
    both = score_all(scans, config, tmp_path / "maps", tmp_path, tmp_path / "scores")
    assert {(row["n"], row["note"]) for row in both} == {(2, "")}
    if lacking == "a map":
        (tmp_path / "maps" / "more" / "900.nii.gz").unlink()  # of the two at this timestep one was quarantined
    else:
        probability_of(more, tmp_path).unlink()
    one = score_all(scans, config, tmp_path / "maps", tmp_path, tmp_path / "scores")
    assert [row["method"] for row in one] == [row["method"] for row in both]
    note = f"; Table 5, phantom, on the 1 of 2 cases that all have: {lacking} lacks 1 (more)"
    assert {(row["n"], row["note"]) for row in one} == {(1, note)}


def test_nnunets_probabilities_are_scored_by_the_same_code(records, maps, tmp_path):
    case = read_case(records[2], CLOSING_MM)
    volumes.write_image(case.record.as_image(case.lesion_zyx.astype(np.float32)), probability_of(records[2], tmp_path))
    best = supervised_row(records, maps, tmp_path)
    assert (best["auc"], best["organ_auc"], best["spe"], best["sen"]) == (1, 1, 1, 1)
    assert (best["found"], best["lesions"], best["false_positives"]) == (1, 1, 0)


def test_the_supervised_row_is_nnunets_segmentation_within_the_organ(records, maps, tmp_path):
    """Half of the lesion is at 0.6, half at 0.4, its surroundings in the lung at 0.1, and all outside of it at 0.9."""
    case = read_case(records[2], CLOSING_MM)
    score = np.where(case.organ_zyx, np.float32(0.1), np.float32(0.9))
    first = np.argwhere(case.lesion_zyx)[:13]
    score[case.lesion_zyx] = 0.4
    score[tuple(first.T)] = 0.6
    volumes.write_image(case.record.as_image(score), probability_of(records[2], tmp_path))
    found = supervised_row(records, maps, tmp_path)
    assert found["sen"] == pytest.approx(13 / 27)  # a threshold of its own would take all 27
    assert found["spe"] == 1  # where the lesions were left out nothing is counted against it
    assert (found["auc"], found["threshold"], found["false_positives"]) == (1, 0.5, 0)


def test_the_picture_shows_what_the_papers_row_scores(records, maps, tmp_path, monkeypatch):
    """The organ alone, and darker as well as brighter: here the lesion is darker, as tumours of the liver are."""
    shutil.copytree(maps, tmp_path / "maps")
    darker = -volumes.read_image(maps / "test" / "900.nii.gz")
    volumes.write_image(darker, tmp_path / "maps" / "test" / "900.nii.gz")
    table = pd.DataFrame(score_all(records, restrict(CONFIG, "score_anomaly"), maps, tmp_path, tmp_path / "scores"))
    table.to_csv(tmp_path / "anomaly.csv")
    shown = []
    monkeypatch.setattr("meddiff.figures.draw.anomaly", lambda *arguments: shown.append(arguments))
    places = {"anomaly_metrics": tmp_path / "anomaly.csv", "anomaly_maps": tmp_path / "maps"}
    results = SimpleNamespace(**places, figure=tmp_path.joinpath)
    (picture,) = pictures._anomalies(results, organ_records(records), CONFIG)
    _, map_hu, above, _, window, _ = shown[0]
    masked = volumes.to_zyx(darker)
    np.testing.assert_array_equal(map_hu, masked * window.width_hu / 2)
    threshold = table.set_index("method").loc["meddiff-fm (900)", "threshold"]
    np.testing.assert_array_equal(above, np.abs(masked) >= threshold)
    assert above.any()
    assert (map_hu[above] < 0).all()
    assert "lung alone at t = 900" in picture.caption


def probability_of(record, folder):
    return folder / f"{record.id}_probability.nii.gz"


def supervised_row(records, maps, folder):
    scored = score_all(records, restrict(CONFIG, "score_anomaly"), maps, folder, folder / "scores")
    return {row["method"]: row for row in scored}[SUPERVISED]
