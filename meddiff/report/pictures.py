"""The report's pictures: of a chosen few cases each figure of the paper, and the training curves."""

import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from meddiff.config import DENOISERS, GENERATED, INPAINTED, ORIGINS, SUPER_RESOLVERS, Config, Region
from meddiff.datasets.index import Case
from meddiff.figures import draw
from meddiff.machine.shards import done_rows
from meddiff.metrics.files import read_metrics
from meddiff.report.all_figures import FIGURES
from meddiff.report.chosen import chosen
from meddiff.report.html import Picture
from meddiff.report.layout import Results
from meddiff.stages.detect import (
    map_name,
    map_scorers,
    organ_records,
    organ_timesteps,
    paper_row,
    read_case,
)
from meddiff.stages.lesion import HeldOutLesion, held_out_lesions
from meddiff.stages.low_dose import facts_of, read_pair
from meddiff.stages.superres import read_scan
from meddiff.store.query import held_out, labelled, open_store
from meddiff.store.record import Record
from meddiff.volumes import volumes

SPLIT_SCANS = 12  # shown in the report; the page of quality control has all of them


def draw_pictures(config: Config, results: Results, store: list[Path], cases: list[Case]) -> list[Picture]:
    """Draw what the report shows into the folder of each figure, and return it in order.

    Args:
        config: the sections of the stage `report`.
        results: the output folder.
        store: indices of the crop store.
        cases: the manifest.
    """
    models = [variant.name for variant in config.models]
    records = open_store(store)
    for figure in FIGURES:
        results.figure(figure.name).mkdir(parents=True, exist_ok=True)
    return [
        *_comparisons(results, held_out(records), models),
        _curves(results, models),
        *_denoised(results),
        *_anomalies(results, organ_records(records), config),
        *_lesions(results, held_out_lesions(labelled(records), config.lesions), config),
        *_thin_slices(results, records),
        *_cuts(results, cases),
    ]


def _comparisons(results: Results, records: list[Record], models: list[str]) -> list[Picture]:
    """Fig. 5: scans and their synthetic twins, three of each region by the LPIPS of the first model."""
    lpips = _column(results.metrics(models[0]), "lpips")
    drawn = {row.id: row.path for row in done_rows([results.twins])}
    regions = {record.id: record.meta.region for record in records if record.id in drawn}
    pictures = []
    for of_region in _by(regions).values():
        reasons = chosen({name: lpips.get(name, np.nan) for name in of_region}, f"LPIPS of {models[0]}")
        for name, reason in reasons.items():
            words = "held-out scan and synthetic twins, same anatomy, middle planes"
            path = results.figure("synthesis") / f"{name}.png"
            shutil.copy(drawn[name], path)
            pictures.append(Picture(path, f"{name}: {words}; {reason}"))
    return pictures


def _denoised(results: Results) -> list[Picture]:
    """Fig. 6: three test pairs by the PSNR of the noisy scan."""
    rows = {row.id: row for row in done_rows([results.pairs])}
    done = [n for n in rows if any((results.denoised(method) / f"{n}.nii.gz").exists() for method in DENOISERS)]
    psnr = _column(results.denoising_metrics("ldct"), "psnr")
    reasons = chosen({name: psnr.get(name, np.nan) for name in done}, "PSNR before denoising")
    pictures = []
    for name, reason in reasons.items():
        path = results.figure("denoising") / f"{name}.png"
        images = _read({method: results.denoised(method) / f"{name}.nii.gz" for method in DENOISERS})
        draw.denoised(read_pair(rows[name]).clean_zyx, images, path)
        kind = "simulated low dose" if facts_of(rows[name])["simulated"] else "low dose"
        words = f"{kind}, every method, and the difference to the normal dose"
        pictures.append(Picture(path, f"{name}: {words}; {reason}"))
    return pictures


def _anomalies(results: Results, records: list[Record], config: Config) -> list[Picture]:
    """Fig. 7: what the paper's row of the last timestep scores, of three test cases of each dataset by lesion size."""
    scores = read_metrics(results.anomaly_metrics)
    found = {}
    for record in records:
        t = organ_timesteps(record, config)[-1]
        path = results.anomaly_maps / record.id / f"{map_name(t, masked=True)}.nii.gz"
        if record.meta.split == "test" and path.exists():
            found[record.id] = (record, t, path)
    pictures = []
    for dataset, names in _by({name: record.meta.dataset for name, (record, *_) in found.items()}).items():
        sizes = {name: float((found[name][0].lesion[:] > 0).sum()) for name in names}
        for name, reason in chosen(sizes, "lesion size").items():
            record, t, path = found[name]
            case, meta = read_case(record, config.anomaly.closing_mm), record.meta
            score = map_scorers(results.anomaly_maps, (t,))[paper_row(t)](case)
            of_method = scores[(scores["dataset"] == dataset) & (scores["method"] == paper_row(t))]
            above = score >= of_method["threshold"].iloc[0]
            map_hu = volumes.to_zyx(volumes.read_image(path)) * meta.window.width_hu / 2
            picture = results.figure("anomaly") / f"{name}.png"
            draw.anomaly(record.ct[:], map_hu, above, case.lesion_zyx, meta.window, picture)
            words = (
                f"anomaly map of the {case.organ} alone at t = {t}, where its size reaches the threshold, the lesion"
            )
            pictures.append(Picture(picture, f"{name}: {words}; {reason}"))
    return pictures


def _lesions(results: Results, lesions: list[HeldOutLesion], config: Config) -> list[Picture]:
    """Figs. 8 and 9: of each dataset three test lesions that were generated and three inpainted, by their Dice."""
    of_id = {lesion.id: lesion for lesion in lesions}
    datasets = {lesion.id: lesion.record.meta.dataset for lesion in lesions}
    pictures = []
    for dataset, names in _by(datasets).items():
        scores = read_metrics(results.lesion_metrics(dataset))
        for kind, words in ((GENERATED, "drawn from anatomy and mask"), (INPAINTED, "drawn into the scan")):
            folders = {origin: results.lesions(dataset, origin) / kind for origin in ORIGINS}
            there = [n for n in names if any((folder / f"{n}.nii.gz").exists() for folder in folders.values())]
            own = scores[(scores["origin"] == ORIGINS[-1]) & (scores["kind"] == kind)] if len(scores) else scores
            dice = dict(zip(own["id"], own["dice"], strict=True)) if len(own) else {}
            for name, reason in chosen({n: dice.get(n, np.nan) for n in there}, f"Dice of {ORIGINS[-1]}").items():
                view = of_id[name].view(config.model.patch_vox)
                images = _read({origin: folder / f"{name}.nii.gz" for origin, folder in folders.items()})
                path = results.figure(kind) / f"{name}.png"
                draw.lesions({"real": view.hu_zyx, **images}, view.lesion_zyx, view.window, path)
                caption = f"{name}: lesion {words}, by either model; below with the mask; {reason}"
                pictures.append(Picture(path, caption))
    return pictures


def _thin_slices(results: Results, records: list[Record]) -> list[Picture]:
    """Three test regions by the PSNR of interpolation."""
    of_id = {record.id: record for record in records}
    rows = {row.id: row for row in done_rows([results.thick_scans])}
    psnr = _column(results.super_resolution_metrics(SUPER_RESOLVERS[0]), "psnr")
    pictures = []
    for name, reason in chosen({n: psnr.get(n, np.nan) for n in rows}, f"PSNR of {SUPER_RESOLVERS[0]}").items():
        scan, thin = read_scan(rows[name], of_id[name])
        images = _read({method: results.super_resolved(method) / f"{name}.nii.gz" for method in SUPER_RESOLVERS})
        path = results.figure("thin_slices") / f"{name}.png"
        draw.thin_slices({"thin slices": volumes.to_zyx(thin), **images}, scan.window, path)
        words = "thin slices out of thick ones, coronal, and the difference"
        pictures.append(Picture(path, f"{name}: {words}; {reason}"))
    return pictures


def _cuts(results: Results, cases: list[Case]) -> list[Picture]:
    """Where whole bodies were cut into regions."""
    whole = {case.id for case in cases if case.region == Region.WHOLE_BODY}
    rows = [row for row in done_rows(results.checked) if row.id in whole]
    return [Picture(row.path, f"{row.id}: regions, in their windows, and anatomy") for row in rows[:SPLIT_SCANS]]


def _curves(results: Results, models: list[str]) -> Picture:
    stats = {model: pd.read_json(results.training_statistics(model), lines=True) for model in models}
    path = results.figure("training") / "all.png"
    draw.training_curves(stats, path)
    return Picture(path, "Training loss, and validation loss where there is a validation split")


def _read(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Return the volumes of the files that are there."""
    return {name: volumes.to_zyx(volumes.read_image(path)) for name, path in files.items() if path.exists()}


def _column(path: Path, column: str) -> dict[str, float]:
    """Return a metric by id; nothing where the table has none."""
    table = read_metrics(path)
    return dict(zip(table["id"], table[column], strict=True)) if column in table else {}


def _by(keys: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the ids of every key."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, key in keys.items():
        groups[key].append(name)
    return dict(groups)
