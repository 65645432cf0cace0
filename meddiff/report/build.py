"""Gathering tables, pictures and provenance into the report."""

from pathlib import Path
from typing import Any

import pandas as pd

from meddiff.config import DENOISERS, ORIGINS, SUPER_RESOLVERS, Config, Region
from meddiff.data import volumes
from meddiff.data.index import Case, read_manifest
from meddiff.data.pairs import is_simulated, read_pair
from meddiff.data.shards import done_rows, record_folders
from meddiff.data.store import Record
from meddiff.evaluation.anomaly import (
    lesion_rows,
    map_name,
    map_scorers,
    organ_rows,
    organ_timesteps,
    paper_row,
    read_case,
)
from meddiff.evaluation.lesions import GENERATED, INPAINTED, held_out_lesions
from meddiff.evaluation.super_resolution import read_scan
from meddiff.files import write_json
from meddiff.report import figures, table1, table3, table4, table5, table6, table_sr
from meddiff.report.html import Picture, quarantine_list, write_report
from meddiff.report.layout import Results, made_with
from meddiff.report.tables import for_people, read_metrics
from meddiff.tasks.synthesis import held_out_rows

SPLIT_SCANS = 12  # shown in the report; the page of quality control has all of them
TABLES = {
    "Table 1": ("table1", table1.CAPTION, table1.METRICS),
    "Table 3": ("table3", table3.CAPTION, table3.METRICS),
    "Table 3, organ by organ": ("table3_organs", table3.ORGANS_CAPTION, table3.ORGAN_METRICS),
    "Table 4": ("table4", table4.CAPTION, table4.METRICS),
    "Table 5": ("table5", table5.CAPTION, table5.METRICS),
    "Table 6": ("table6", table6.CAPTION, table6.METRICS),
    "Augmentation with generated lesions": (
        "table6_augmentation",
        table6.AUGMENTATION_CAPTION,
        table6.AUGMENTATION_METRICS,
    ),
    "Super-resolution": ("table_sr", table_sr.CAPTION, table_sr.METRICS),
}


def build_report(config: Config, results: Results, store: list[Path], origin: dict[str, Any]) -> Path:
    """Draw the pictures, write `provenance.json` and the page, and return the page's path.

    Args:
        config: the sections of the stage `report`.
        results: the output folder.
        store: indices of the crop store.
        origin: what `provenance` returned.
    """
    models = [variant.name for variant in config.models]
    cases = read_manifest(results.manifest)
    write_json(origin, results.root / "provenance.json")
    pictures = [*_comparisons(results, store, models), _curves(results, models)]
    pictures += [*_denoised(results, store), *_anomalies(results, store, config)]
    pictures += [*_lesions(results, store, config), *_thin_slices(results, store), *_cuts(results, cases)]
    tables = {}
    for title, (stem, caption, metrics) in TABLES.items():
        text = for_people(pd.read_csv(results.tables / f"{stem}.csv"), metrics)
        tables[title] = (caption, text.drop(columns="made_with"))
    note = made_with(config, cases, results.extractor_source)
    page = results.root / "report" / "index.html"
    write_report(page, tables, pictures, quarantine_list(results.prepared), origin, note)
    return page


def _comparisons(results: Results, store: list[Path], models: list[str]) -> list[Picture]:
    pictures = []
    for row in held_out_rows(done_rows(store)):
        record = Record(row.path.parent)
        files = {model: results.synthetic(model) / f"{row.id}.nii.gz" for model in models}
        synthetic = {model: volumes.to_zyx(volumes.read_image(path)) for model, path in files.items() if path.exists()}
        path = results.figures / f"synthesis_{row.id}.png"
        figures.comparison(record, synthetic, path)
        pictures.append(Picture(path, f"{row.id}: held-out scan and its synthetic twins, same anatomy, middle planes"))
    return pictures


def _denoised(results: Results, store: list[Path]) -> list[Picture]:
    """Fig. 6 for every test pair."""
    folders = record_folders(store)
    pictures = []
    for row in done_rows([results.pairs]):
        pair = read_pair(row, folders)
        files = {name: results.denoised(name) / f"{row.id}.nii.gz" for name in DENOISERS}
        images = {name: volumes.to_zyx(volumes.read_image(path)) for name, path in files.items() if path.exists()}
        if not images:
            continue
        path = results.figures / f"denoising_{row.id}.png"
        figures.denoised(pair.clean_zyx, images, path)
        kind = "simulated low dose" if is_simulated(row) else "low dose"
        pictures.append(Picture(path, f"{row.id}: {kind}, every method, and the difference to the normal dose"))
    return pictures


def _anomalies(results: Results, store: list[Path], config: Config) -> list[Picture]:
    """Fig. 7 for every test case with a lesion in its organ: what the paper's row of the last timestep scores."""
    scores = read_metrics(results.anomaly_metrics)
    pictures = []
    for row in organ_rows(done_rows(store)):
        meta = Record(row.path.parent).meta
        t = organ_timesteps([row], config)[-1]
        path = results.anomaly_maps / row.id / f"{map_name(t, masked=True)}.nii.gz"
        if meta.split != "test" or not path.exists():
            continue
        case = read_case(row, config.anomaly.closing_mm)
        found, score = volumes.to_zyx(volumes.read_image(path)), map_scorers(results.anomaly_maps, (t,))[paper_row(t)]
        of_method = scores[(scores["dataset"] == meta.dataset) & (scores["method"] == paper_row(t))]
        above = score(case) >= of_method["threshold"].iloc[0]
        picture = results.figures / f"anomaly_{row.id}.png"
        map_hu = found * meta.window.width_hu / 2
        figures.anomaly(case.record.ct[:], map_hu, above, case.lesion_zyx, meta.window, picture)
        words = f"anomaly map of the {case.organ} alone at t = {t}, where its size reaches the threshold, the lesion"
        pictures.append(Picture(picture, f"{row.id}: {words}"))
    return pictures


def _lesions(results: Results, store: list[Path], config: Config) -> list[Picture]:
    """Figs. 8 and 9 for every test lesion."""
    pictures = []
    for lesion in held_out_lesions(lesion_rows(done_rows(store)), config.lesions):
        view = lesion.view(config.model.patch_vox)
        dataset = Record(lesion.row.path.parent).meta.dataset
        for kind, words in ((GENERATED, "drawn from anatomy and mask"), (INPAINTED, "drawn into the scan")):
            files = {origin: results.lesions(dataset, origin) / kind / f"{lesion.id}.nii.gz" for origin in ORIGINS}
            images = {name: volumes.to_zyx(volumes.read_image(path)) for name, path in files.items() if path.exists()}
            if images:
                path = results.figures / f"lesion_{kind}_{lesion.id}.png"
                figures.lesions({"real": view.hu_zyx, **images}, view.lesion_zyx, view.window, path)
                pictures.append(Picture(path, f"{lesion.id}: lesion {words}, by either model; below with the mask"))
    return pictures


def _thin_slices(results: Results, store: list[Path]) -> list[Picture]:
    folders = record_folders(store)
    pictures = []
    for row in done_rows([results.thick_scans]):
        scan, thin = read_scan(row, Record(folders[row.id]))
        files = {name: results.super_resolved(name) / f"{row.id}.nii.gz" for name in SUPER_RESOLVERS}
        images = {name: volumes.to_zyx(volumes.read_image(path)) for name, path in files.items() if path.exists()}
        path = results.figures / f"super_resolution_{row.id}.png"
        figures.thin_slices({"thin slices": volumes.to_zyx(thin), **images}, scan.window, path)
        pictures.append(Picture(path, f"{row.id}: thin slices out of thick ones, coronal, and the difference"))
    return pictures


def _cuts(results: Results, cases: list[Case]) -> list[Picture]:
    """Where whole bodies were cut into regions."""
    whole = {case.id for case in cases if case.region == Region.WHOLE_BODY}
    rows = [row for row in done_rows(results.checked) if row.id in whole]
    return [Picture(row.path, f"{row.id}: regions, in their windows, and anatomy") for row in rows[:SPLIT_SCANS]]


def _curves(results: Results, models: list[str]) -> Picture:
    stats = {model: pd.read_json(results.training_statistics(model), lines=True) for model in models}
    path = results.figures / "training.png"
    figures.training_curves(stats, path)
    return Picture(path, "Training loss, and validation loss where there is a validation split")
