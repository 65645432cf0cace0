"""What models learn on phantoms in minutes: planted lesions stand out, generated ones are found, the rest stays."""

import numpy as np
import pytest

from meddiff.anatomy.body import add_body, body_mask
from meddiff.config import (
    GENERATED,
    INPAINTED,
    NnUNetConfig,
    Organ,
    Region,
    SamplingConfig,
    WindowsConfig,
    parse_config,
)
from meddiff.config.stages import restrict
from meddiff.demo.phantom import add_lung_lesions, make_phantom
from meddiff.diffusion.sliding import Place
from meddiff.machine.shards import DONE, Row
from meddiff.machine.tsv import write_tsv
from meddiff.metrics.detection import VoxelScores
from meddiff.metrics.overlap import dice
from meddiff.nnunet.model import NnUNet
from meddiff.stages.detect import labelled_images
from meddiff.store.record import Record, RecordMeta, write_record
from meddiff.store.view import View
from meddiff.tasks.anomaly import Probe, anomaly_map, organ_mask
from meddiff.tasks.lesions import LesionView, blend_share, generate, inpaint_lesion
from meddiff.tasks.sampler import Sampler
from meddiff.training.finetune import Place as Training
from meddiff.training.finetune import finetune, lesion_task
from meddiff.training.pretrain import pretrain
from meddiff.volumes import volumes
from meddiff.volumes.hu import normalise

pytestmark = pytest.mark.slow

SPACING_MM, PATCH = 8.0, 12
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
            "steps": 900,
            "batch_size": 8,
            "accumulation": 1,
            "learning_rate": 2e-3,
            "learning_rate_decay": "cosine",
            "warmup_steps": 10,
            "ema_decay": 0.99,
            "bfloat16": False,
        },
        "finetuning": {"steps": 200, "learning_rate": 2e-3, "ema_decay": 0.98},
        "sampling": {"bfloat16": False, "overlap": 0.25},
        "lesions": {"inpainting_steps": 20, "jump_length": 5, "resampling": 2, "margin_mm": SPACING_MM},
        "models": [{"name": "meddiff-fm", "levels": {"image": 0, "double": 0, "patch": 1}}],
        "machine": {"device": "cpu", "workers": 0, "validate_every": 900},
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
    for seed, split in enumerate(("train", "train", "train", "val", "test", "test", *("train",) * 6), start=20):
        rows.append(stored(folder, seed, "downstream", split, lesions=True))
    write_tsv([vars(row) for row in rows], list(vars(rows[0])), folder / "index.tsv")
    settings = restrict(CONFIG, "pretrain")
    pretrain(settings, "meddiff-fm", [folder / "index.tsv"], folder / "runs", folder / "model", float("inf"))
    return folder, rows


def of(rows, role, split):
    records = (Record(row.path.parent) for row in rows)
    return [record for record in records if (record.meta.role, record.meta.split) == (role, split)]


def mapped(sampler, record, t=900):
    organ = organ_mask(record.anatomy[:], Organ.LUNG, SPACING_MM, 10.0)
    return anomaly_map(sampler, View.from_record(record), Organ.LUNG, organ, Probe(t, masked=False)), organ


def test_lesions_of_low_contrast_stand_out_more_than_by_their_brightness(study):
    folder, rows = study
    sampler = Sampler(folder / "model", SamplingConfig(bfloat16=False), CONFIG.machine)
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
    sampler = Sampler(folder / "model", SamplingConfig(bfloat16=False), CONFIG.machine)
    (healthy,) = of(rows, "pretraining", "test")
    found, organ = mapped(sampler, healthy)
    brighter_hu = found[organ] * WINDOW.width_hu / 2
    assert np.median(np.abs(brighter_hu)) < 50
    assert (brighter_hu > 330 / 2).mean() < 0.03
    assert (brighter_hu > 330).mean() < 0.01


@pytest.fixture(scope="module")
def drawn(study):
    """The scans of patients that no training saw, and their lesions generated and inpainted by a fine-tuned model.

    Each is (record, {kind: int16 HU}).
    """
    folder, rows = study
    settings = restrict(CONFIG, "finetune_lesions")
    task = lesion_task(settings, "phantom", [folder / "index.tsv"], PATCH)
    finetune(task, settings, Training(folder / "model", folder / "runs", folder / "control", float("inf")))
    sampler = Sampler(folder / "model", CONFIG.sampling, CONFIG.machine, folder / "control")
    scans = []
    for record in of(rows, "downstream", "test") + of(rows, "downstream", "val"):
        place = Place((0, 0, 0), record.meta.size_zyx)
        lesion = record.lesion[:] > 0
        view = LesionView(record.ct[:], record.anatomy[:], Region.CHEST, WINDOW, SPACING_MM, lesion, place)
        inpainted = inpaint_lesion(sampler, view, CONFIG.lesions, 0, INPAINTED)
        scans.append((record, {GENERATED: generate(sampler, view, 0, GENERATED), INPAINTED: inpainted}))
    return scans


@pytest.mark.parametrize("kind", [GENERATED, INPAINTED])
def test_hu_inside_a_drawn_lesion_are_those_of_lesions_and_not_of_the_lung(drawn, kind):
    """Lesions have -550 to -450 HU, the lung -850 to -800."""
    for record, images in drawn:
        assert -620 < np.median(images[kind][record.lesion[:] > 0]) < -380


def test_an_inpainted_scan_is_bit_identical_beyond_the_margin(drawn):
    for record, images in drawn:
        margin = blend_share(record.lesion[:] > 0, CONFIG.lesions.margin_mm / SPACING_MM)
        np.testing.assert_array_equal(images[INPAINTED][margin == 0], record.ct[:][margin == 0])
        assert (images[INPAINTED][margin == 1] != record.ct[:][margin == 1]).mean() > 0.9


def test_nnunet_finds_generated_lesions_that_learned_real_ones(drawn, study):
    """By chance, with the lesions of the mirrored body, its Dice is near 0; that of real lesions is above 0.8."""
    folder, rows = study
    judge = NnUNet(folder / "judge", NnUNetConfig(epochs=5, iterations=40, small=True), "cpu")
    judge.train((record.meta.id, *labelled_images(record)) for record in of(rows, "downstream", "train"))
    images = {record.meta.id: volumes.from_zyx(hu[GENERATED], SPACING_MM) for record, hu in drawn}
    judge.predict(images, folder / "judged")
    found, chance = [], []
    for record, _ in drawn:
        segmented = volumes.to_zyx(volumes.read_image(folder / "judged" / f"{record.meta.id}.nii.gz")) > 0
        found.append(dice(segmented, record.lesion[:] > 0))
        chance.append(np.nan_to_num(dice(segmented, record.lesion[:, :, ::-1] > 0)))
    assert np.mean(found) > np.mean(chance) + 0.1
