"""The judge of synthetic scans sees them as the anatomy stage saw the real ones."""

import numpy as np

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.config import AnatomyConfig, Config
from meddiff.config.stages import restrict
from meddiff.machine.files import sha256
from meddiff.machine.shards import Row, done_rows
from meddiff.stages import segment as judge
from meddiff.volumes import volumes
from tests.stages.segmenters import StandIn

CONFIG = restrict(Config(anatomy=AnatomyConfig(weights="demo", resolution="fastest")), "segment")


class SeesALiver(StandIn):
    """Takes a part of everything for liver."""

    def segment(self, image):
        labels = np.full(volumes.to_zyx(image).shape, CLASS_IDS["brain"], np.uint8)
        labels[2:4, 2:4, 2:4] = CLASS_IDS["liver"]
        return labels


def test_what_cannot_lie_in_the_region_is_replaced_as_in_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "Segmenter", SeesALiver)
    rows = []
    for region in ("han", "abdomen"):
        path = tmp_path / f"own_han_case_{region}.nii.gz"
        volumes.write_image(volumes.from_zyx(np.zeros((6, 6, 6), np.int16), 2.0), path)
        rows.append(Row(f"own_han_case_{region}", "done", path, sha256(path), 0.0, ""))
    judge.segment_synthetic(rows, CONFIG, tmp_path / "judged" / "index.tsv")
    judged = {
        row.id: volumes.to_zyx(volumes.read_image(row.path)) for row in done_rows([tmp_path / "judged" / "index.tsv"])
    }
    assert np.unique(judged["own_han_case_han"]).tolist() == [CLASS_IDS["brain"]]
    assert np.unique(judged["own_han_case_abdomen"]).tolist() == [CLASS_IDS["liver"]]
