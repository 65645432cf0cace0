"""The anatomy of a shard's scans: TotalSegmentator's labels and the body (c_a, section 3.2), and its weights."""

from pathlib import Path
from typing import Any

import numpy as np

from meddiff.config import AnatomyConfig, Config
from meddiff.config.stages import settings_of
from meddiff.machine.files import sha256, write_json
from meddiff.machine.shards import Item, Row, run_shard
from meddiff.volumes import volumes


def bring_weights(anatomy: AnatomyConfig, out: Path) -> None:
    """Bring TotalSegmentator's weights into the cache, and write what they are, with the sha256 of each."""
    from meddiff.anatomy import demo_weights, official_weights

    if anatomy.weights == "official":
        folder = official_weights.fetch(anatomy)
        files = {model.name: model.checkpoint(folder) for model in official_weights.models(anatomy)}
    else:
        files = {demo_weights.DATASET: demo_weights.STORED / "weights.safetensors"}
    write_json({"weights": anatomy.weights, "sha256": {name: sha256(path) for name, path in files.items()}}, out)


def anatomy(resampled: list[Row], config: Config, index: Path) -> None:
    """Write TotalSegmentator's labels with the body of every resampled case."""
    from meddiff.anatomy.label import label_anatomy
    from meddiff.anatomy.segmenter import Segmenter
    from meddiff.machine.device import choose_device

    def work(item: Item) -> dict[str, Any]:
        ct = volumes.read_image(item.of.path)
        labels_zyx = label_anatomy(ct, segmenter, config.anatomy.body_threshold_hu)
        volumes.write_image(volumes.like(labels_zyx, ct), item.output)
        return {"weights": config.anatomy.weights, "classes": len(np.unique(labels_zyx)) - 1}

    items = [Item(row.id, (row.path,), index.parent / f"{row.id}.nii.gz", of=row) for row in resampled]
    with Segmenter(config.anatomy, choose_device(config.machine.device).type) as segmenter:
        run_shard("anatomy", items, settings_of(config, "anatomy"), work, index)
