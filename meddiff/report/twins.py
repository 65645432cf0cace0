"""Every held-out scan beside its synthetic twins: a picture each, and a page to look through them."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader

from meddiff.figures import draw
from meddiff.machine.files import write_text
from meddiff.machine.shards import Item, done_rows, run_shard
from meddiff.metrics.files import read_metrics
from meddiff.report.html import quarantine_list
from meddiff.report.layout import Results
from meddiff.store.record import Record
from meddiff.volumes import volumes

NUMBERS = {"ms_ssim": "MS-SSIM", "lpips": "LPIPS", "dice": "Dice"}


def draw_twins(records: list[Record], synthetic: dict[str, Path], settings: str, index: Path) -> None:
    """Draw each held-out region with the twins that are there; those drawn before are skipped.

    Args:
        records: held-out ones.
        synthetic: model -> folder of its synthetic scans.
        settings: of the stage `twins`.
        index: their index.
    """

    def twins(name: str) -> dict[str, Path]:
        files = {model: folder / f"{name}.nii.gz" for model, folder in synthetic.items()}
        return {model: path for model, path in files.items() if path.exists()}

    def work(item: Item) -> None:
        images = {model: volumes.to_zyx(volumes.read_image(path)) for model, path in twins(item.id).items()}
        draw.comparison(item.of, images, item.output)

    def item(record: Record) -> Item:
        files = twins(record.id)
        return Item(record.id, (record.path, *files.values()), index.parent / f"{record.id}.png", tuple(files), record)

    run_shard("draw twins", map(item, records), settings, work, index)


def write_page(results: Results, records: list[Record], models: list[str], made_with: str) -> Path:
    """Write the page with all pictures of `draw_twins`, and return it; pictures are links relative to it.

    Args:
        results: the output folder.
        records: held-out ones.
        models: whose scans are shown.
        made_with: one line on data and weights.
    """
    page = results.report / "twins.html"
    pictures = {row.id: quote(os.path.relpath(row.path, page.parent)) for row in done_rows([results.twins])}
    problems = quarantine_list({model: sorted(results.synthetic(model).glob("shard-*.tsv")) for model in models})
    scores = {model: read_metrics(results.metrics(model)) for model in models}
    environment = Environment(loader=PackageLoader("meddiff.report"), autoescape=True)
    cases = [_describe(record, pictures, problems, scores) for record in records]
    write_text(environment.get_template("twins.html").render(cases=cases, made_with=made_with), page)
    return page


def _describe(
    record: Record, pictures: dict[str, str], problems: list[dict[str, str]], scores: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    lines: list[str] = []
    for model, table in scores.items():
        for _, scan in table[table["id"] == record.id].iterrows() if len(table) else ():
            numbers = [f"{word} {scan[name]:.4f}" for name, word in NUMBERS.items() if name in scan]
            lines.append(f"{model}: {', '.join(numbers)}")
    return {
        "id": record.id,
        "dataset": record.meta.dataset,
        "split": record.meta.split,
        "picture": pictures.get(record.id, ""),
        "problems": [{"stage": p["stage"], "reason": p["reason"]} for p in problems if p["case"] == record.id],
        "regions": [],
        "lines": lines,
    }
