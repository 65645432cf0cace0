"""Every held-out scan beside its synthetic twins: a picture each, and a page to look through them."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader

from meddiff.figures import scans as figures
from meddiff.machine.files import write_text
from meddiff.machine.shards import Item, Row, done_rows, run_shard
from meddiff.report.html import quarantine_list
from meddiff.report.layout import Results
from meddiff.report.tables import read_metrics
from meddiff.store.record import Record
from meddiff.volumes import volumes

NUMBERS = {"ms_ssim": "MS-SSIM", "lpips": "LPIPS", "dice": "Dice"}


def draw_twins(rows: list[Row], synthetic: dict[str, Path], settings: str, out: Path, index: Path) -> None:
    """Draw each held-out region with the twins that are there; those drawn before are skipped.

    Args:
        rows: store rows of held-out regions.
        synthetic: model -> folder of its synthetic scans.
        settings: of the stage `draw-twins`.
        out: folder of the pictures.
        index: their index.
    """
    row_of = {row.id: row for row in rows}

    def twins(name: str) -> dict[str, Path]:
        files = {model: folder / f"{name}.nii.gz" for model, folder in synthetic.items()}
        return {model: path for model, path in files.items() if path.exists()}

    def work(item: Item) -> None:
        images = {model: volumes.to_zyx(volumes.read_image(path)) for model, path in twins(item.id).items()}
        figures.comparison(Record(row_of[item.id].path.parent), images, item.output)

    def item(row: Row) -> Item:
        files = twins(row.id)
        return Item(row.id, (row.path, *files.values()), out / f"{row.id}.png", tuple(files))

    run_shard("draw twins", map(item, rows), settings, work, index)


def write_page(results: Results, rows: list[Row], models: list[str], made_with: str) -> Path:
    """Write the page with all pictures of `draw_twins`, and return it; pictures are links relative to it.

    Args:
        results: the output folder.
        rows: store rows of the held-out regions.
        models: whose scans are shown.
        made_with: one line on data and weights.
    """
    page = results.report / "twins.html"
    pictures = {row.id: quote(os.path.relpath(row.path, page.parent)) for row in done_rows([results.twins])}
    problems = quarantine_list({model: sorted(results.synthetic(model).glob("shard-*.tsv")) for model in models})
    scores = {model: read_metrics(results.metrics(model)) for model in models}
    environment = Environment(loader=PackageLoader("meddiff.report"), autoescape=True)
    cases = [_describe(row, pictures, problems, scores) for row in rows]
    write_text(environment.get_template("twins.html").render(cases=cases, made_with=made_with), page)
    return page


def _describe(
    row: Row, pictures: dict[str, str], problems: list[dict[str, str]], scores: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    meta = Record(row.path.parent).meta
    lines = []
    for model, table in scores.items():
        for _, scan in table[table["id"] == row.id].iterrows() if len(table) else ():
            numbers = [f"{word} {scan[name]:.4f}" for name, word in NUMBERS.items() if name in scan]
            lines.append(f"{model}: {', '.join(numbers)}")
    return {
        "id": row.id,
        "dataset": meta.dataset,
        "split": meta.split,
        "picture": pictures.get(row.id, ""),
        "problems": [{"stage": p["stage"], "reason": p["reason"]} for p in problems if p["case"] == row.id],
        "regions": [],
        "lines": lines,
    }
