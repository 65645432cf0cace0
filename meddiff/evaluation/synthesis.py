"""Scoring the synthetic twins of the held-out scans, one row per scan (Table 3)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from meddiff.config import EvaluationConfig
from meddiff.data import volumes
from meddiff.data.anatomy.body import body_mask
from meddiff.data.shards import Row, sidecar
from meddiff.data.store import Record
from meddiff.data.windows import normalise
from meddiff.evaluation.extractor import Extractor
from meddiff.evaluation.features import resized, tile_features
from meddiff.evaluation.lpips import lpips
from meddiff.evaluation.ms_ssim import ms_ssim
from meddiff.evaluation.overlap import dice, organ_dice
from meddiff.evaluation.seams import seam_ratio
from meddiff.files import read_json
from meddiff.progress import Progress

MIN_ORGAN_ML = 5.0


def score(
    rows: list[Row],
    synthetic: Path | None,
    judged: Path,
    extractor: Extractor,
    config: EvaluationConfig,
    body_threshold_hu: float,
    name: str,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return one row of metrics per record, and the features of all records' tiles, (records, tiles, C).

    Args:
        rows: store rows of the held-out regions.
        synthetic: folder of the synthetic twins; None scores the scans themselves, the ceiling of the Dice.
        judged: folder of TotalSegmentator's labels of the synthetic (or real) scans.
        extractor: the feature network.
        config: sizes and scales.
        body_threshold_hu: threshold of the body; its Dice is given where the region's window holds that value.
        name: for the progress lines.
    """
    progress = Progress(f"evaluate {name}", len(rows))
    metrics, features = [], []
    for row in rows:
        record = Record(row.path.parent)
        meta = record.meta
        condition = record.anatomy[:]
        real_hu = record.ct[:]
        fake_hu = volumes.to_zyx(volumes.read_image(synthetic / f"{row.id}.nii.gz")) if synthetic else real_hu
        labels = volumes.to_zyx(volumes.read_image(judged / f"{row.id}.nii.gz"))
        real, fake = (torch.from_numpy(normalise(hu, meta.window)) for hu in (real_hu, fake_hu))
        line: dict[str, Any] = {"id": row.id, "dataset": meta.dataset, "region": meta.region.value}
        if synthetic:
            line["ms_ssim"] = ms_ssim(real, fake, config.ms_ssim_scales)
            line["lpips"] = lpips(*(resized(x, extractor, config) for x in (real, fake)), extractor).item()
            drawing = read_json(sidecar(synthetic / f"{row.id}.nii.gz"))["details"]
            line["seams"] = seam_ratio(fake_hu, condition > 0, drawing["borders_zyx"])
            line["tflop"] = drawing["tflop"]
        voxels = MIN_ORGAN_ML * 1000 / meta.spacing_mm**3
        organs = organ_dice(condition, labels, meta.region, round(voxels))
        line["dice"] = (
            float(np.nanmean(list(organs.values()))) if not all(np.isnan(list(organs.values()))) else float("nan")
        )
        line |= {f"dice_{organ}": value for organ, value in organs.items()}
        if meta.window.low_hu < body_threshold_hu < meta.window.high_hu:
            line["dice_body"] = dice(condition > 0, body_mask(fake_hu, meta.spacing_mm, body_threshold_hu))
        metrics.append(line)
        features.append(tile_features(fake, extractor, config))
        progress.step(row.id)
    return metrics, np.stack(features) if features else np.zeros((0, config.tiles**3, 0))
