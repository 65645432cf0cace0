"""Do generated lesions help to find real ones? nnU-Net trained with and without them, at equal budget."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from meddiff.anatomy.drawn_lesions import draw_lesion
from meddiff.anatomy.labels import BODY
from meddiff.config import Config
from meddiff.config.stages import settings_of
from meddiff.machine.seeds import seed_of
from meddiff.machine.shards import Item, Row, run_shard
from meddiff.metrics.overlap import dice
from meddiff.nnunet.model import Images, NnUNet
from meddiff.stages.detect import ct_image, labelled_images, learned_and_tested
from meddiff.store.lesion_patches import lesion_boxes
from meddiff.store.record import Record
from meddiff.tasks.anomaly import organ_mask
from meddiff.tasks.lesions import LesionView, generate, with_lesion
from meddiff.tasks.sampler import Sampler
from meddiff.volumes import volumes

REAL_ALONE, WITH_GENERATED = "real", "real and generated"
NEAR_MM = 30.0  # Choice: where there is no organ, such as for lymph nodes, new lesions lie near the real ones


def generate_training(records: list[Record], sampler: Sampler, config: Config, index: Path) -> list[Row]:
    """Write generated patches with drawn lesions for every case that nnU-Net learns from, masks beside them."""
    settings = config.lesions

    def work(item: Item) -> dict[str, Any]:
        record, seed = item.of, seed_of(config.seed, item.id)
        rng = np.random.default_rng(seed)
        diameter_mm = rng.uniform(*settings.augmentation_diameter_mm)
        site_zyx = lesion_site(record, config.anomaly.closing_mm)
        lesion_zyx = draw_lesion(site_zyx, diameter_mm, record.meta.spacing_mm, rng)
        (box,) = ndimage.find_objects(lesion_zyx.astype(np.uint8))
        view = LesionView.around(record, lesion_zyx, box, sampler.patch_vox)
        view = replace(view, anatomy_zyx=with_lesion(view.anatomy_zyx, view.lesion_zyx))
        image = volumes.from_zyx(generate(sampler, view, seed, item.id), view.spacing_mm)
        volumes.write_image(volumes.like(view.lesion_zyx.astype(np.uint8), image), mask_path(item.output))
        volumes.write_image(image, item.output)
        return {"diameter_mm": diameter_mm}

    copies = itertools.product(learned_and_tested(records)[0], range(settings.augmentation_copies))
    items = [
        Item(f"{r.id}-{copy}", (r.path,), index.parent / f"{r.id}-{copy}.nii.gz", (sampler.checksum,), r)
        for r, copy in copies
    ]
    return run_shard("generate training lesions", items, settings_of(config, "augment_lesions"), work, index)


def compare(
    records: list[Record], generated: list[Row], real: NnUNet, augmented: NnUNet, out: Path
) -> list[dict[str, Any]]:
    """Return the Dice of each test case with an nnU-Net of either kind.

    Args:
        records: the dataset's, of the store.
        generated: what `generate_training` returned.
        real: nnU-Net that was trained on the real scans of all but the test patients.
        augmented: one to train on these and the generated ones, for as many steps.
        out: folder of their predictions.
    """
    training, tested = learned_and_tested(records)

    def cases() -> Iterator[tuple[str, sitk.Image, sitk.Image]]:
        yield from ((record.id, *labelled_images(record)) for record in training)
        for row in generated:
            yield row.id, volumes.read_image(row.path), volumes.read_image(mask_path(row.path))

    augmented.train(cases())
    test = {record.id: record for record in tested}
    table = []
    for name, network, count in ((REAL_ALONE, real, 0), (WITH_GENERATED, augmented, len(generated))):
        folder = out / name.replace(" ", "-")
        network.predict(Images(test, lambda case_id: ct_image(test[case_id])), folder)
        for case_id, record in test.items():
            found = volumes.to_zyx(volumes.read_image(folder / f"{case_id}.nii.gz")) > 0
            scores = {"dice": dice(found, record.lesion[:] > 0), "real": len(training), "generated": count}
            table.append({"id": case_id, "training": name, **scores})
    return table


def lesion_site(record: Record, closing_mm: float) -> np.ndarray:
    """Return where a lesion may be drawn: the organ of the dataset's lesions, else soft tissue near the real ones."""
    anatomy_zyx = record.anatomy[:]
    if organ := record.meta.lesion_organ:
        return organ_mask(anatomy_zyx, organ, record.meta.spacing_mm, closing_mm)
    near_zyx = np.zeros(anatomy_zyx.shape, bool)
    reach = round(NEAR_MM / record.meta.spacing_mm)
    for box in lesion_boxes(record.lesion[:]):
        near_zyx[tuple(slice(max(0, s.start - reach), s.stop + reach) for s in box)] = True
    return near_zyx & (anatomy_zyx == BODY)


def mask_path(image: Path) -> Path:
    """Return where the lesion mask of a generated patch lies."""
    return image.with_name(image.name.replace(".nii.gz", ".mask.nii.gz"))
