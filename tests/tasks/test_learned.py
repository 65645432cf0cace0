"""What models learn on phantoms in minutes: planted lesions stand out, generated ones are found, the rest stays."""

import numpy as np
import pytest

from meddiff.config import NnUNetConfig, Region, SamplingConfig, WindowsConfig, parse_config
from meddiff.data import volumes
from meddiff.data.anatomy.body import add_body, body_mask
from meddiff.data.phantom import add_lung_lesions, make_phantom
from meddiff.data.shards import DONE, Row, read_index
from meddiff.data.store import Record, RecordMeta, write_record
from meddiff.data.tsv import write_tsv
from meddiff.data.windows import normalise
from meddiff.evaluation.anomaly import labelled_images
from meddiff.evaluation.detection import VoxelScores
from meddiff.evaluation.lesions import GENERATED, INPAINTED, draw_lesions, held_out_lesions
from meddiff.evaluation.nnunet import Images, NnUNet
from meddiff.evaluation.overlap import dice
from meddiff.stages import restrict
from meddiff.tasks.anomaly import anomaly_map, organ_mask
from meddiff.tasks.lesions import blend_share
from meddiff.tasks.sampler import Sampler
from meddiff.training.finetune import Place, finetune, lesion_task
from meddiff.training.pretrain import pretrain

pytestmark = pytest.mark.slow

SPACING_MM, PATCH = 6.0, 16
WINDOW = WindowsConfig().chest
CONFIG = parse_config(
    {
        "model": {
            "patch_vox": PATCH,
            "channels": 16,
            "channel_multipliers": (1, 2, 2),
            "attention_levels": (2,),
            "attention_heads": 1,
            "position_frequencies": 4,
        },
        "diffusion": {"prediction": "v"},
        "training": {
            "steps": 600,
            "batch_size": 8,
            "accumulation": 1,
            "learning_rate": 2e-3,
            "learning_rate_decay": "cosine",
            "warmup_steps": 10,
            "ema_decay": 0.99,
            "workers": 0,
            "validate_every": 600,
            "bfloat16": False,
        },
        "finetuning": {"steps": 400, "learning_rate": 2e-3, "ema_decay": 0.98},
        "sampling": {"bfloat16": False},
        "lesions": {"inpainting_steps": 20, "jump_length": 5, "resampling": 2, "margin_mm": 6.0},
        "models": [{"name": "meddiff-fm"}],
    },
    "test",
)


def stored(folder, seed, role, split, lesions):
    body, lesion = make_phantom(seed, SPACING_MM, "chest"), None
    if lesions:
        body, lesion = add_lung_lesions(body, seed)
        lesion = lesion.astype(np.uint8)
    labels = add_body(body.labels_zyx, body_mask(body.ct_zyx, SPACING_MM, -300))
    origin = (0.0, 0.0, 0.0)
    case = f"body{seed}"
    meta = RecordMeta(
        case, "phantom", case, Region.CHEST, role, split, SPACING_MM, origin, body.ct_zyx.shape, WINDOW, "demo"
    )
    write_record(folder / case, meta, body.ct_zyx, labels, PATCH, lesion)
    return Row(case, DONE, folder / case / "meta.json", "0", 0.0, "")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Rows of healthy bodies and of such with lesions, and a model that was trained on the healthy ones."""
    folder = tmp_path_factory.mktemp("learned")
    rows = [stored(folder, seed, "pretraining", "train", lesions=False) for seed in range(4)]
    rows += [stored(folder, 9, "pretraining", "test", lesions=False)]
    for seed, split in enumerate(("train", "train", "train", "val", "test", "test"), start=20):
        rows.append(stored(folder, seed, "downstream", split, lesions=True))
    write_tsv([vars(row) for row in rows], list(vars(rows[0])), folder / "index.tsv")
    settings = restrict(CONFIG, "pretrain")
    pretrain(settings, "meddiff-fm", [folder / "index.tsv"], folder / "runs", folder / "model", float("inf"))
    return folder, rows


def of(rows, role, split):
    records = (Record(row.path.parent) for row in rows)
    return [record for record in records if (record.meta.role, record.meta.split) == (role, split)]


def mapped(sampler, record, t=900):
    anatomy = record.anatomy[:]
    organ = organ_mask(anatomy, "lung", SPACING_MM, 10.0)
    return anomaly_map(sampler, record.ct[:], anatomy, organ, Region.CHEST, WINDOW, t, 1, masked=False), organ


def test_lesions_of_low_contrast_stand_out_more_than_by_their_brightness(study):
    folder, rows = study
    sampler = Sampler(folder / "model", SamplingConfig(bfloat16=False), "cpu")
    scores, intensity = VoxelScores(), VoxelScores()
    for record in of(rows, "downstream", "test") + of(rows, "downstream", "val"):
        found, organ = mapped(sampler, record)
        lesion = (record.lesion[:] > 0) & organ
        scores.add(np.maximum(found, 0), lesion, organ)
        intensity.add(normalise(record.ct[:], WINDOW) + 1, lesion, organ)
    assert scores.auc() > 0.95
    assert scores.auc() > intensity.auc()
    assert scores.average_precision() > intensity.average_precision()


def test_a_body_without_lesions_has_a_flat_map(study):
    """Lesions rise by 330 HU. What is left over, at the edges of the veins, is less than a lesion."""
    folder, rows = study
    sampler = Sampler(folder / "model", SamplingConfig(bfloat16=False), "cpu")
    (healthy,) = of(rows, "pretraining", "test")
    found, organ = mapped(sampler, healthy)
    brighter_hu = found[organ] * WINDOW.width_hu / 2
    assert np.median(np.abs(brighter_hu)) < 50
    assert (brighter_hu > 330 / 2).mean() < 0.03
    assert (brighter_hu > 330).mean() < 0.01


@pytest.fixture(scope="module")
def drawn(study):
    """The test lesions, generated and inpainted by a fine-tuned model."""
    folder, rows = study
    task = lesion_task(restrict(CONFIG, "finetune-lesions"), "phantom", [folder / "index.tsv"], PATCH)
    place = Place(folder / "model", folder / "runs", folder / "control", float("inf"))
    finetune(task, restrict(CONFIG, "finetune-lesions"), place)
    sampler = Sampler(folder / "model", CONFIG.sampling, "cpu", folder / "control")
    with_lesions = [row for row in rows if Record(row.path.parent).lesion is not None]
    draw_lesions(with_lesions, sampler, restrict(CONFIG, "lesions"), folder / "drawn", folder / "drawn.tsv")
    assert {row.status for row in read_index(folder / "drawn.tsv")} == {DONE}
    return folder, held_out_lesions(with_lesions, CONFIG.lesions)


def image(folder, kind, lesion):
    return volumes.read_image(folder / "drawn" / kind / f"{lesion.id}.nii.gz")


@pytest.mark.parametrize("kind", [GENERATED, INPAINTED])
def test_hu_inside_a_drawn_lesion_are_those_of_lesions_and_not_of_the_lung(drawn, kind):
    """Lesions have -550 to -450 HU, the lung -850 to -800."""
    folder, lesions = drawn
    for lesion in lesions:
        inside = volumes.to_zyx(image(folder, kind, lesion))[lesion.view(PATCH).lesion_zyx]
        assert -620 < np.median(inside) < -380


def test_an_inpainted_patch_is_bit_identical_beyond_the_margin(drawn):
    folder, lesions = drawn
    for lesion in lesions:
        view, result = lesion.view(PATCH), volumes.to_zyx(image(folder, INPAINTED, lesion))
        beyond = blend_share(view.lesion_zyx, CONFIG.lesions.margin_mm / SPACING_MM) == 0
        np.testing.assert_array_equal(result[beyond], view.hu_zyx[beyond])


def test_nnunet_finds_generated_lesions_that_learned_real_ones(drawn, study):
    """By chance, with the outlines of the mirrored patches, its Dice would be near 0."""
    folder, lesions = drawn
    judge = NnUNet(folder / "judge", NnUNetConfig(epochs=12, iterations=50, small=True), "cpu")
    training = of(study[1], "downstream", "train")
    judge.train((record.meta.id, *labelled_images(record)) for record in training)
    by_id = {lesion.id: lesion for lesion in lesions}
    judge.predict(Images(by_id, lambda name: image(folder, GENERATED, by_id[name])), folder / "judged")
    found, chance = [], []
    for lesion in lesions:
        segmented = volumes.to_zyx(volumes.read_image(folder / "judged" / f"{lesion.id}.nii.gz")) > 0
        truth = lesion.view(PATCH).lesion_zyx
        found.append(dice(segmented, truth))
        chance.append(np.nan_to_num(dice(segmented[:, ::-1, ::-1], truth)))
    assert np.mean(found) > 0.4
    assert np.mean(found) > np.mean(chance) + 0.2
