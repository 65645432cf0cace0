"""Scores of anomaly maps on stored scans with lesions: what counts, and which cases choose the threshold."""

import numpy as np
import pytest
from scipy import ndimage

from meddiff.config import SUPERVISED, AnomalyConfig, Config, Organ
from meddiff.data import volumes
from meddiff.data.shards import DONE, Row, read_index
from meddiff.data.store import Record, write_record
from meddiff.data.windows import normalise
from meddiff.evaluation.anomaly import BRIGHTER, INTENSITY, lesion_rows, read_case, score_all, write_maps
from meddiff.stages import restrict
from tests.conftest import make_record
from tests.tasks.healthy import HealthySampler

CLOSING_MM = 10.0
CONFIG = Config(anomaly=AnomalyConfig(lung_timesteps=(900,)))


def with_lesion(folder, seed, split, lesion_hu):
    """A chest with a lesion in its lung, and one outside of it, which does not count."""
    record = make_record(folder, seed, split=split)
    anatomy, hu = record.anatomy[:], record.ct[:]
    depth = ndimage.distance_transform_edt(np.isin(anatomy, range(10, 15)))
    z, y, x = np.unravel_index(depth.argmax(), depth.shape)
    lesion = np.zeros(hu.shape, np.uint8)
    lesion[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 1
    hu[lesion > 0] = lesion_hu
    lesion[0, 0, 0] = 1
    write_record(folder, record.meta, hu, anatomy, 16, lesion)
    return Row(folder.name, DONE, folder / "meta.json", "0", 0.0, "")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three chests with a lesion that is darker than the vessels of the lung, and one without labels."""
    store = tmp_path_factory.mktemp("store")
    splits = ("train", "val", "test")
    found = [with_lesion(store / split, seed, split, -650) for seed, split in enumerate(splits)]
    make_record(store / "none", 5)
    return [*found, Row("none", DONE, store / "none" / "meta.json", "0", 0.0, "")]


@pytest.fixture(scope="module")
def maps(rows, tmp_path_factory):
    """Maps of a model that knows the mean of each label, of the training scan."""
    out = tmp_path_factory.mktemp("maps")
    record = Record(rows[0].path.parent)
    scaled, anatomy = normalise(record.ct[:], record.meta.window), record.anatomy[:]
    sampler = HealthySampler([scaled[anatomy == i].mean() if (anatomy == i).any() else -1 for i in range(119)])
    sampler.weights = rows[0].path
    index = out / "index.tsv"
    write_maps(lesion_rows(rows), sampler, restrict(CONFIG, "anomaly"), out, index)
    assert [row.status for row in read_index(index)] == 6 * [DONE]  # three scans, masked and whole
    return out


def test_only_scans_with_labels_count_and_only_lesions_in_the_organ(rows):
    assert [row.id for row in lesion_rows(rows)] == ["train", "val", "test"]
    case = read_case(rows[0], CLOSING_MM)
    assert case.organ == Organ.LUNG
    assert case.lesion_zyx.sum() == 27
    assert Record(rows[0].path.parent).lesion[:].sum() == 28


def test_a_map_finds_what_is_not_bright_and_intensity_does_not(rows, maps, tmp_path):
    table = {row["method"]: row for row in score_all(rows, restrict(CONFIG, "score-anomaly"), maps, tmp_path)}
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


def test_the_threshold_does_not_see_the_test_scans(rows, maps, tmp_path):
    config = restrict(CONFIG, "score-anomaly")
    everything = score_all(rows, config, maps, tmp_path)
    without_test = score_all(rows[:2], config, maps, tmp_path)
    for a, b in zip(everything, without_test, strict=True):
        assert a["threshold"] == b["threshold"]
        assert b["n"] == 0


def test_nnunets_probabilities_are_scored_by_the_same_code(rows, maps, tmp_path):
    for row in rows[1:3]:
        case = read_case(row, CLOSING_MM)
        perfect = case.record.as_image(case.lesion_zyx.astype(np.float32))
        volumes.write_image(perfect, tmp_path / f"{row.id}_probability.nii.gz")
    table = {row["method"]: row for row in score_all(rows, restrict(CONFIG, "score-anomaly"), maps, tmp_path)}
    best = table[SUPERVISED]
    assert (best["auc"], best["organ_auc"], best["spe"], best["sen"]) == (1, 1, 1, 1)
    assert (best["found"], best["lesions"], best["false_positives"]) == (1, 1, 0)
