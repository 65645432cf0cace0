"""Test lesions of stored patients: which are drawn, how they are judged, and the augmentation study."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from meddiff.anatomy.labels import BODY
from meddiff.config import Config, EvaluationConfig, LesionsConfig, Organ
from meddiff.config.stages import restrict
from meddiff.machine.shards import DONE, read_index
from meddiff.metrics.extractor import Extractor
from meddiff.stages.augment_lesions import compare, generate_training, lesion_site, mask_path
from meddiff.stages.lesion import draw_lesions, held_out_lesions, judge_lesions
from meddiff.store.query import with_lesions
from meddiff.store.record import Record, write_record
from meddiff.volumes import volumes
from tests.conftest import make_record
from tests.tasks.test_lesions import LesionSampler

SMALL, LARGE = (slice(20, 23), slice(18, 21), slice(12, 15)), (slice(30, 36), slice(18, 24), slice(12, 18))
CONFIG = Config(
    lesions=LesionsConfig(
        inpainting_steps=2, jump_length=1, resampling=1, augmentation_copies=1, augmentation_diameter_mm=(20, 30)
    ),
    evaluation=EvaluationConfig(network="resnet10", weights="random", feature_vox=16, ms_ssim_scales=1),
    model={"patch_vox": 16, "channel_multipliers": (1, 2), "attention_levels": ()},
)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A training patient and a test patient, each with a small and a large lesion."""
    store = tmp_path_factory.mktemp("store")
    found = []
    for seed, split in enumerate(("train", "test")):
        record = make_record(store / split, seed, split=split, lesion_organ=Organ.LUNG)
        lesion = np.zeros(record.meta.size_zyx, np.uint8)
        lesion[SMALL] = lesion[LARGE] = 1
        write_record(record.folder, record.meta, record.ct[:], record.anatomy[:], 16, lesion)
        found.append(record)
    return found


class Sampler(LesionSampler):
    """One with weights, as the indices want to know them."""

    def __init__(self):
        super().__init__()
        self.checksum, self.model = "weights", SimpleNamespace(name="test")


class Judge:
    """In the place of nnU-Net: what is brighter than a lung is a lesion."""

    def predict(self, images, out, probability=False):
        for name, image in images.items():
            bright = volumes.to_zyx(image) > -400
            volumes.write_image(volumes.like(bright.astype(np.uint8), image), out / f"{name}.nii.gz")

    def train(self, cases):
        self.cases = list(cases)


def test_the_largest_lesions_of_the_test_patients_are_drawn(records):
    assert [(lesion.id, lesion.box) for lesion in held_out_lesions(records, CONFIG.lesions)] == [
        ("test-0", LARGE),
        ("test-1", SMALL),
    ]
    one = CONFIG.lesions.model_copy(update={"patches_per_case": 1})
    assert [lesion.box for lesion in held_out_lesions(records, one)] == [LARGE]
    none = CONFIG.lesions.model_copy(update={"min_ml": 6**3 * 6**3 / 1000 + 1})
    assert held_out_lesions(records, none) == []


def test_records_without_lesions_do_not_count(records, tmp_path):
    unlabelled = make_record(tmp_path / "unlabelled", 5)
    healthy = make_record(tmp_path / "healthy", 5, lesion_zyx=np.zeros(unlabelled.meta.size_zyx, np.uint8))
    assert with_lesions([*records, healthy, unlabelled]) == records


@pytest.fixture(scope="module")
def judged(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("lesions")
    sampler = Sampler()
    draw_lesions(records, sampler, restrict(CONFIG, "draw_lesions"), out / "fine-tune" / "index.tsv")
    assert [row.status for row in read_index(out / "fine-tune" / "index.tsv")] == 4 * [DONE]
    torch.manual_seed(0)
    extractor = Extractor("resnet10").eval()
    folders = {"fine-tune": out / "fine-tune"}
    settings = restrict(CONFIG, "judge_lesions")
    table, features = judge_lesions(records, folders, Judge(), extractor, settings, out / "judged")
    return pd.DataFrame(table), features


def test_every_real_and_drawn_patch_has_a_row_and_features(judged):
    table, features = judged
    assert table.groupby("kind").size().to_dict() == {"real": 2, "generated": 2, "inpainted": 2}
    assert features.shape == (6, 1, 512)
    assert table["patient"].unique().tolist() == ["body1"]


def test_a_lesion_that_is_drawn_as_its_class_is_found_by_the_judge(judged):
    """The sampler draws lesions of 50 HU into a lung of -860, so that brightness finds them all and nothing else."""
    table, _ = judged
    generated = table[table["kind"] == "generated"]
    assert generated["dice"].tolist() == [1.0, 1.0]
    assert (table.loc[table["kind"] == "inpainted", "dice"] < 0.9).all()  # the rest of the scan is bright, too


def test_generated_patches_alone_are_compared_with_the_real_ones(judged):
    table, _ = judged
    compared = table["ms_ssim"].notna() & table["lpips"].notna()
    assert (compared == (table["kind"] == "generated")).all()


def test_training_lesions_are_drawn_in_the_organ_for_the_patients_that_are_learned_from(records, tmp_path):
    settings = restrict(CONFIG, "augment_lesions")
    made = generate_training(records, Sampler(), settings, tmp_path / "index.tsv")
    assert [(row.id, row.status) for row in made] == [("train-0", DONE)]
    mask = volumes.to_zyx(volumes.read_image(mask_path(made[0].path))) > 0
    drawn = volumes.to_zyx(volumes.read_image(made[0].path))
    assert 0 < mask.sum() < mask.size / 2
    assert drawn[mask].mean() > drawn[~mask].mean() + 300

    real, augmented = Judge(), Judge()
    table = pd.DataFrame(compare(records, made, real, augmented, tmp_path / "study"))
    assert [name for name, *_ in augmented.cases] == [records[0].id, "train-0"]
    assert table["training"].tolist() == ["real", "real and generated"]
    assert table["generated"].tolist() == [0, 1]
    assert table["id"].unique().tolist() == ["test"]


def test_without_an_organ_lesions_are_drawn_in_soft_tissue_near_the_real_ones(records):
    record = Record(records[0].path.parent)
    in_lung = lesion_site(record, 10.0)
    record.meta = replace(record.meta, lesion_organ=None)
    site = lesion_site(record, 10.0)
    assert site.any()
    assert not (site & in_lung).sum() > 0.5 * site.sum()
    assert (record.anatomy[:][site] == BODY).all()
    z = np.flatnonzero(site.any((1, 2)))
    assert z.min() >= 20 - 5
    assert z.max() < 36 + 5
