"""Generated and inpainted lesions of the test patients, and how they are judged (Table 6)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from meddiff.config import GENERATED, INPAINTED, REAL, Config, LesionsConfig
from meddiff.config.stages import settings_of
from meddiff.machine.progress import Progress
from meddiff.machine.seeds import seed_of
from meddiff.machine.shards import Item, run_shard
from meddiff.metrics.extractor import Extractor
from meddiff.metrics.features import resized, tile_features
from meddiff.metrics.lpips import lpips
from meddiff.metrics.ms_ssim import ms_ssim
from meddiff.metrics.overlap import dice
from meddiff.nnunet.model import Images, NnUNet
from meddiff.store.lesion_patches import Box, lesion_boxes
from meddiff.store.query import where
from meddiff.store.record import Record
from meddiff.tasks.lesions import LesionView, generate, inpaint_lesion
from meddiff.tasks.sampler import Sampler
from meddiff.volumes import volumes
from meddiff.volumes.hu import normalise


@dataclass(frozen=True)
class HeldOutLesion:
    """A lesion of a test patient, and where its box lies in the record."""

    id: str
    record: Record
    box: Box

    def view(self, patch_vox: int) -> LesionView:
        return LesionView.around(self.record, self.record.lesion, self.box, patch_vox)


def held_out_lesions(records: list[Record], config: LesionsConfig) -> list[HeldOutLesion]:
    """Return the largest lesions of each test patient."""
    found = []
    for record in where(records, split="test"):
        lesion_zyx = record.lesion[:]
        voxel_ml = record.meta.spacing_mm**3 / 1000
        sizes = [(int(lesion_zyx[box].sum()) * voxel_ml, box) for box in lesion_boxes(lesion_zyx)]
        largest = sorted((pair for pair in sizes if pair[0] >= config.min_ml), key=lambda pair: -pair[0])
        chosen = largest[: config.patches_per_case]
        found += [HeldOutLesion(f"{record.id}-{number}", record, box) for number, (_, box) in enumerate(chosen)]
    return found


def draw_lesions(records: list[Record], sampler: Sampler, config: Config, index: Path) -> None:
    """Write, for every test lesion, a generated patch and the scan's own patch with the lesion inpainted."""

    def work(item: Item) -> dict[str, Any]:
        kind, lesion = item.of
        view, seed = lesion.view(sampler.patch_vox), seed_of(config.seed, item.id)
        if kind == GENERATED:
            hu_zyx = generate(sampler, view, seed, item.id)
        else:
            hu_zyx = inpaint_lesion(sampler, view, config.lesions, seed, item.id)
        volumes.write_image(volumes.from_zyx(hu_zyx, view.spacing_mm), item.output)
        return {"seed": seed}

    def item(kind: str, lesion: HeldOutLesion) -> Item:
        output = index.parent / kind / f"{lesion.id}.nii.gz"
        return Item(f"{kind}-{lesion.id}", (lesion.record.path,), output, (sampler.checksum,), (kind, lesion))

    lesions = held_out_lesions(records, config.lesions)
    items = [item(kind, lesion) for lesion in lesions for kind in (GENERATED, INPAINTED)]
    run_shard(f"lesions, {sampler.model.name}", items, settings_of(config, "draw_lesions"), work, index)


def judge_lesions(
    records: list[Record], drawn: dict[str, Path], judge: NnUNet, extractor: Extractor, config: Config, out: Path
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return a row of metrics for each patch, real or drawn, and the features of the patches, (rows, tiles, C).

    Args:
        records: the dataset's, of the store.
        drawn: origin of a model -> folder that `draw_lesions` filled.
        judge: nnU-Net that was trained on the real scans of all but the test patients.
        extractor: the feature network.
        config: the sections of the stage `judge_lesions`.
        out: folder of the judge's labels.
    """
    patches = _patches(held_out_lesions(records, config.lesions), drawn, config.model.patch_vox)
    by_id = {patch.id: patch for patch in patches}
    judge.predict(Images(by_id, lambda name: by_id[name].image()), out)
    progress = Progress("score lesions", len(patches))
    metrics, features = [], []
    for patch in patches:
        view, hu_zyx = patch.lesion.view(patch.patch_vox), volumes.to_zyx(patch.image())
        found = volumes.to_zyx(volumes.read_image(out / f"{patch.id}.nii.gz")) > 0
        real, scaled = (torch.from_numpy(normalise(hu, view.window)) for hu in (view.hu_zyx, hu_zyx))
        line: dict[str, Any] = {"id": patch.lesion.id, "origin": patch.origin, "kind": patch.kind}
        line["patient"] = patch.lesion.record.meta.case
        line["dice"] = dice(found, view.lesion_zyx)
        if patch.kind == GENERATED:
            line["ms_ssim"] = ms_ssim(real, scaled, config.evaluation.ms_ssim_scales)
            a, b = (resized(x, extractor, config.evaluation) for x in (real, scaled))
            line["lpips"] = lpips(a, b, extractor).item()
        metrics.append(line)
        features.append(tile_features(scaled, extractor, config.evaluation))
        progress.step(patch.id)
    return metrics, np.stack(features) if features else np.zeros((0, config.evaluation.tiles**3, 0))


@dataclass(frozen=True)
class _Patch:
    """A patch to judge: a test lesion's own, or one that a model drew."""

    lesion: HeldOutLesion
    origin: str
    kind: str
    path: Path | None
    patch_vox: int

    @property
    def id(self) -> str:
        return f"{self.origin}-{self.kind}-{self.lesion.id}"

    def image(self) -> sitk.Image:
        if self.path:
            return volumes.read_image(self.path)
        view = self.lesion.view(self.patch_vox)
        return volumes.from_zyx(view.hu_zyx, view.spacing_mm)


def _patches(lesions: list[HeldOutLesion], drawn: dict[str, Path], patch_vox: int) -> list[_Patch]:
    """Return all patches that are there, the real ones first."""
    found = [_Patch(lesion, REAL, REAL, None, patch_vox) for lesion in lesions]
    for origin, folder in drawn.items():
        for kind in (GENERATED, INPAINTED):
            files = [(lesion, folder / kind / f"{lesion.id}.nii.gz") for lesion in lesions]
            found += [_Patch(lesion, origin, kind, path, patch_vox) for lesion, path in files if path.exists()]
    return found
