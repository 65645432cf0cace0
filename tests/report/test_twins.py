"""Pictures of synthetic scans, and the page to look through them."""

import json
import re

import pytest

from meddiff.machine.shards import COLUMNS, DONE, QUARANTINED, read_index
from meddiff.machine.tsv import write_tsv
from meddiff.metrics.files import write_metrics
from meddiff.report.layout import Results
from meddiff.report.twins import draw_twins, write_page
from meddiff.volumes import volumes
from tests.conftest import make_record

MODELS = ("meddiff-fm", "ddpm")


@pytest.fixture
def run(tmp_path):
    """Two held-out chests: both of one model's scans, one of the other's, which could not draw the second."""
    results = Results(tmp_path)
    records = []
    for number in range(2):
        record = make_record(tmp_path / "store" / f"body{number}", number, split="test")
        records.append(record)
        for model in MODELS[: 2 - number]:
            volumes.write_image(record.as_image(record.ct[:]), results.synthetic(model) / f"body{number}.nii.gz")
    lost = {"id": "body1", "status": QUARANTINED, "path": "", "sha256": "", "seconds": 0, "reason": "not <drawn>"}
    write_tsv([lost], COLUMNS, results.synthetic("ddpm") / "shard-000.tsv")
    (tmp_path / "metrics").mkdir()
    write_metrics([{"id": "body0", "ms_ssim": 0.75, "lpips": 0.01}], results.metrics("meddiff-fm"), ())
    write_metrics([], results.metrics("ddpm"), ("id",))
    return results, records


def draw(run):
    results, records = run
    folders = {model: results.synthetic(model) for model in MODELS}
    draw_twins(records, folders, "settings", results.twins)
    return read_index(results.twins)


def test_a_scan_is_drawn_again_only_when_a_twin_changed_or_came(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "meddiff.figures.draw.comparison",
        lambda record, images, path: drawn.append((record.meta.id, list(images))) or path.write_bytes(b"png"),
    )
    (run[0].figures / "twins").mkdir(parents=True)
    assert [row.status for row in draw(run)] == [DONE, DONE]
    assert drawn == [("body0", ["meddiff-fm", "ddpm"]), ("body1", ["meddiff-fm"])]
    draw(run)
    assert len(drawn) == 2
    twin = run[0].synthetic("meddiff-fm") / "body1.nii.gz"
    volumes.write_image(volumes.read_image(twin), run[0].synthetic("ddpm") / "body1.nii.gz")
    draw(run)
    assert drawn[2:] == [("body1", ["meddiff-fm", "ddpm"])]


def test_the_page_has_every_scan_with_its_metrics_and_what_is_missing(run):
    results, records = run
    draw(run)
    text = write_page(results, records, list(MODELS), "phantoms").read_text()
    first, second = json.loads(re.search(r'id="cases">(.*?)</script>', text, re.DOTALL)[1])
    for case in (first, second):
        assert (results.report / case["picture"]).read_bytes().startswith(b"\x89PNG")
    assert first["lines"] == ["meddiff-fm: MS-SSIM 0.7500, LPIPS 0.0100"]
    assert (first["problems"], second["lines"]) == ([], [])
    assert second["problems"] == [{"stage": "ddpm", "reason": "not <drawn>"}]
    assert "<h1>Synthetic twins</h1>" in text
    assert "<title>MedDiff-FM: Synthetic twins</title>" in text
    assert not [word for word in ("http://", "https://", 'src="', str(results.root)) if word in text]
