"""Scoring the synthetic twins of the held-out scans, one row per scan (Table 3)."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meddiff.anatomy.body import body_mask
from meddiff.config import Config
from meddiff.config.stages import settings_of
from meddiff.machine.files import read_json, temporary_beside
from meddiff.machine.shards import Item, run_shard, sidecar
from meddiff.metrics.extractor import Extractor
from meddiff.metrics.features import resized, tile_features
from meddiff.metrics.lpips import lpips
from meddiff.metrics.ms_ssim import ms_ssim
from meddiff.metrics.overlap import dice, organ_dice
from meddiff.metrics.seams import seam_ratio
from meddiff.store.record import Record
from meddiff.volumes import volumes
from meddiff.volumes.hu import normalise

log = logging.getLogger(__name__)

# Choice: an organ with less in the anatomy is not judged. Where a scan ends within an organ a few voxels of it remain,
# whose Dice says nothing of the model and would weigh as much as that of a whole liver.
MIN_ORGAN_ML = 5.0


@dataclass(frozen=True)
class Scorer:
    """What the scans of one method are scored with.

    Args:
        synthetic: folder of the synthetic twins; None scores the scans themselves, the ceiling of the Dice.
        judged: folder of TotalSegmentator's labels of the synthetic (or real) scans.
        extractor: the feature network.
        config: the sections of the stage `evaluate`.
    """

    synthetic: Path | None
    judged: Path
    extractor: Extractor
    config: Config

    def score(self, record: Record) -> tuple[dict[str, Any], np.ndarray]:
        """Return the metrics of one record, and the features of its tiles, (tiles, C)."""
        meta, evaluation = record.meta, self.config.evaluation
        condition, real_hu = record.anatomy[:], record.ct[:]
        file = self.synthetic / f"{record.id}.nii.gz" if self.synthetic else None
        fake_hu = volumes.to_zyx(volumes.read_image(file)) if file else real_hu
        fake = torch.from_numpy(normalise(fake_hu, meta.window))
        line: dict[str, Any] = {"id": record.id, "dataset": meta.dataset, "region": meta.region.value}
        if file:
            real = torch.from_numpy(normalise(real_hu, meta.window))
            line["ms_ssim"] = ms_ssim(real, fake, evaluation.ms_ssim_scales)
            a, b = (resized(x, self.extractor, evaluation) for x in (real, fake))
            line["lpips"] = lpips(a, b, self.extractor).item()
            drawing = read_json(sidecar(file))["details"]
            line["seams"] = seam_ratio(fake_hu, condition > 0, drawing["borders_zyx"])
            line["tflop"] = drawing["tflop"]
        line |= self._dice(condition, volumes.to_zyx(volumes.read_image(self.judged / f"{record.id}.nii.gz")), record)
        threshold_hu = self.config.anatomy.body_threshold_hu
        if meta.window.low_hu < threshold_hu < meta.window.high_hu:  # else the window does not show the body's edge
            line["dice_body"] = dice(condition > 0, body_mask(fake_hu, meta.spacing_mm, threshold_hu))
        return line, tile_features(fake, self.extractor, evaluation)

    def inputs(self, record: Record) -> tuple[Path, ...]:
        files = (folder / f"{record.id}.nii.gz" for folder in (self.synthetic, self.judged) if folder)
        return (record.path, *files)

    @staticmethod
    def _dice(condition_zyx: np.ndarray, labels_zyx: np.ndarray, record: Record) -> dict[str, float]:
        """Return the Dice of each organ, and their mean over those that are judged."""
        smallest_vox = round(MIN_ORGAN_ML * 1000 / record.meta.spacing_mm**3)
        organs = organ_dice(condition_zyx, labels_zyx, record.meta.region, smallest_vox)
        judged = [value for value in organs.values() if not np.isnan(value)]
        mean = float(np.mean(judged)) if judged else float("nan")
        return {"dice": mean} | {f"dice_{organ}": value for organ, value in organs.items()}


def score_records(name: str, records: list[Record], scorer: Scorer, weights: Path, index: Path) -> None:
    """Score the given records, each into a file of features with its metrics beside; those done before are skipped.

    What was quarantined when it was drawn or segmented is named in the log and left out.

    Args:
        name: the method, for the progress lines.
        records: held-out ones.
        scorer: what they are scored with.
        weights: file of the feature network.
        index: their index.
    """
    there = [record for record in records if all(path.exists() for path in scorer.inputs(record))]
    if lacking := [record.id for record in records if record not in there]:
        counts = f"{len(lacking)} of {len(records)}"
        log.warning("evaluate %s: %s scans were not drawn or segmented: %s", name, counts, ", ".join(lacking))

    def work(item: Item) -> dict[str, Any]:
        line, features = scorer.score(item.of)
        item.output.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(item.output) as temporary, temporary.open("wb") as file:
            np.savez(file, features=features)
        return line

    items = [Item(r.id, (*scorer.inputs(r), weights), index.parent / f"{r.id}.npz", of=r) for r in there]
    run_shard(f"evaluate {name}", items, settings_of(scorer.config, "evaluate"), work, index)
