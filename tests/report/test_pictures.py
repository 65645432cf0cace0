"""The report of a full-size run: hundreds of cases, of which it shows and reads a few, and a page that opens."""

import itertools
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest

from meddiff.anatomy.labels import LUNG, ids
from meddiff.config import DENOISERS, MODEL_REGIONS, ORIGINS, Config
from meddiff.datasets.index import write_manifest
from meddiff.figures import draw
from meddiff.machine.files import read_json, write_json
from meddiff.machine.shards import COLUMNS, DONE, sidecar
from meddiff.machine.tsv import write_tsv
from meddiff.metrics.files import write_metrics
from meddiff.report import build
from meddiff.report.all_figures import FIGURES
from meddiff.report.chosen import chosen
from meddiff.report.layout import Results
from meddiff.report.twins import write_page
from meddiff.stages.detect import paper_row
from meddiff.stages.low_dose import clean_path, labels_path
from meddiff.store.query import held_out, open_store
from meddiff.store.record import Record
from meddiff.volumes import volumes
from tests.conftest import make_record

SCANS, LESIONS, PAIRS = 240, 60, 20
LIMIT_BYTES = 30e6
T = 950  # the last timestep of lungs
MODELS = ("meddiff-fm", "ddpm")
# Of paper.yaml: 3 of 3 regions and, about as large, 12 cuts of whole bodies; 3 pairs and 3 of thin slices; 3 maps of
# 2 organs; 3 lesions of 4 datasets in 2 ways.
OF_ALL = {
    **{"synthesis": 3 * 3 + 12, "denoising": 3 + 3, "anomaly": 3 * 2, "training": 1},
    **dict.fromkeys(("generated", "inpainted"), 3 * 4),
}


def test_lowest_median_and_highest():
    values = {"c": 3.0, "a": 1.0, "b": 2.0, "d": 4.0, "e": 5.0}
    assert chosen(values, "Dice") == {"a": "lowest Dice of 5", "c": "median Dice of 5", "e": "highest Dice of 5"}
    assert chosen(dict(reversed(values.items())), "Dice") == chosen(values, "Dice")
    assert list(chosen({"a": 1.0, "b": 1.0}, "")) == ["a", "b"]
    assert len(chosen({"a": 1.0, "b": 1.0, "c": 0.0}, "")) == 3
    assert chosen({"a": 1.0}, "Dice") == {"a": "the only one"}
    assert chosen({}, "Dice") == {}


def test_cases_without_the_number_are_shown_where_none_has_it():
    nan = float("nan")
    assert list(chosen({"a": nan, "b": 1.0, "c": 2.0, "d": 3.0}, "Dice")) == ["b", "c", "d"]
    assert len(chosen({"a": nan, "b": nan, "c": nan, "d": nan}, "Dice")) == 3


def index_of(folder, paths):
    blank = {"status": DONE, "sha256": "", "seconds": 0, "reason": ""}
    write_tsv([blank | {"id": name, "path": path} for name, path in paths.items()], COLUMNS, folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The output folder of a run with hundreds of held-out regions and lesions; the files of all are one another's."""
    found = Results(tmp_path_factory.mktemp("large"))
    scans, lesions = write_store(found.root)
    rng = np.random.default_rng(0)
    write_synthesis(found, scans, rng)
    write_pairs(found, scans[:PAIRS], rng)
    write_lesions(found, lesions, rng)
    index_of(found.thick_scans, {})
    write_metrics([], metrics_file(found.super_resolution_metrics("linear")), ("id",))
    write_manifest([], found.manifest)
    write_json({"made_with": "random"}, found.extractor_source)
    return found


def write_store(root):
    """Write records, copies of one, and the files of noise, which compresses worst, that all others are links to."""
    record = make_record(root / "scan", 3, split="test")
    lesion = np.zeros(record.ct.shape, np.uint8)
    lung = np.argwhere(np.isin(record.anatomy[:], ids(*LUNG)))
    lesion[tuple(slice(centre - 2, centre + 3) for centre in lung[len(lung) // 2])] = 1
    make_record(root / "lesion", 3, split="test", lesion_zyx=lesion)
    for name, shape in (("noise", record.ct.shape), ("patch", 3 * (Config().model.patch_vox,))):
        noise = np.random.default_rng(0).integers(-1400, 400, shape).astype(np.int16)
        volumes.write_image(volumes.from_zyx(noise, 6.0), root / f"{name}.nii.gz")
    names = {
        "scan": [f"scan{number:03d}_{MODEL_REGIONS[number % 3].value}" for number in range(SCANS)],
        "lesion": [f"lesion{number:03d}_chest" for number in range(LESIONS)],
    }
    store = {}
    for kind, name in ((kind, name) for kind, of_kind in names.items() for name in of_kind):
        shutil.copytree(root / kind, root / "store" / name)
        meta = read_json(root / kind / "meta.json") | {"id": name, "region": name.split("_")[1]}
        meta |= {"role": "downstream", "lesion_organ": "lung"} if kind == "lesion" else {}
        store[name] = root / "store" / name / "meta.json"
        write_json(meta, store[name])
    index_of(root / "store.tsv", store)
    return names["scan"], names["lesion"]


def write_synthesis(found, scans, rng):
    twins = found.figures / "twins"
    record, noise = Record(found.root / "scan"), volumes.read_image(found.root / "noise.nii.gz")
    draw.comparison(record, dict.fromkeys(MODELS, volumes.to_zyx(noise)), twins / "one.png")
    for name in scans:
        link(twins / "one.png", twins / f"{name}.png")
    index_of(found.twins, {name: twins / f"{name}.png" for name in scans})
    rows = [{"id": name, "lpips": rng.uniform(), "dice": 0.5} for name in scans]
    write_metrics(rows, metrics_file(found.metrics(MODELS[0])), ())
    write_metrics([], found.metrics(MODELS[1]), ("id",))
    for model in MODELS:
        write_json({"training": {"run": model}}, found.root / "models" / model / "config.json")
        found.training_statistics(model).parent.mkdir(parents=True)
        found.training_statistics(model).write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n')


def write_pairs(found, scans, rng):
    pairs = {name: found.pairs.parent / f"{name}.nii.gz" for name in scans}
    for name, path in pairs.items():
        denoised = [found.denoised(method) / f"{name}.nii.gz" for method in DENOISERS]
        for copy in (path, clean_path(path), labels_path(path), *denoised):
            link(found.root / "noise.nii.gz", copy)
        write_json(
            {"details": {"simulated": True, "region": "chest", "split": "test", "spacing_mm": 1.0}}, sidecar(path)
        )
    index_of(found.pairs, pairs)
    rows = [{"id": name, "psnr": rng.uniform()} for name in pairs]
    write_metrics(rows, metrics_file(found.denoising_metrics("ldct")), ())


def write_lesions(found, scans, rng):
    rows = []
    for name in scans:
        link(found.root / "noise.nii.gz", found.anomaly_maps / name / f"{T}.nii.gz")
        for origin, kind in itertools.product(ORIGINS, ("generated", "inpainted")):
            link(found.root / "patch.nii.gz", found.lesions("phantom", origin) / kind / f"{name}-0.nii.gz")
            rows.append({"id": f"{name}-0", "origin": origin, "kind": kind, "dice": rng.uniform()})
    write_metrics(rows, metrics_file(found.lesion_metrics("phantom")), ())
    threshold = {"dataset": "phantom", "method": paper_row(T), "threshold": 0.5}
    write_metrics([threshold], found.anomaly_metrics, ())


def link(file, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(file)


def metrics_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_run_with_hundreds_of_regions_has_a_page_of_a_few_pictures(results, monkeypatch):
    read, read_image = [], volumes.read_image
    monkeypatch.setattr(volumes, "read_image", lambda path: read.append(path) or read_image(path))
    monkeypatch.setattr(build, "TABLES", {})
    page = build.build_report(Config(), results, [results.root / "store.tsv"], {})

    text, drawn = page.read_text(), [path for each in FIGURES for path in results.figure(each.name).iterdir()]
    kinds = Counter(path.parent.name for path in drawn)
    assert kinds == {"synthesis": 9, "denoising": 3, "anomaly": 3, "generated": 3, "inpainted": 3, "training": 1}
    assert text.count("data:image/png;base64,") == len(drawn)
    # What is in a picture, a scan of each method in those of denoising, and nothing of the hundreds of others.
    assert len(read) < kinds["denoising"] * (len(DENOISERS) + 2) + 2 * len(drawn)
    assert "the only one" not in text
    assert text.count(f"median LPIPS of meddiff-fm of {SCANS // 3}") >= 3
    assert text.count(f"highest lesion size of {LESIONS}") >= 1
    assert page.stat().st_size < LIMIT_BYTES
    sizes = {kind: [path.stat().st_size for path in drawn if path.parent.name == kind] for kind in kinds}
    assert sum(count * max(sizes[kind]) for kind, count in OF_ALL.items()) * 4 / 3 < LIMIT_BYTES  # as base64


def test_the_others_are_on_a_page_that_links_them(results, monkeypatch):
    monkeypatch.setattr(volumes, "read_image", lambda path: pytest.fail("no volume is read"))
    records = held_out(open_store([results.root / "store.tsv"]))
    page = write_page(results, records, list(MODELS), "phantoms")
    cases = json.loads(re.search(r'id="cases">(.*?)</script>', page.read_text(), re.DOTALL)[1])
    assert len(cases) == SCANS
    assert all((page.parent / case["picture"]).is_file() for case in cases)
    assert page.stat().st_size < LIMIT_BYTES / 100
    (line,) = cases[0]["lines"]
    assert re.fullmatch(r"meddiff-fm: LPIPS 0\.\d{4}, Dice 0\.5000", line)
