"""What a trained model does without fine-tuning, on held-out scans whose truth is known because it was put there.

Needs the results of `make demo`. Denoising: white noise of sigma_n = 0.15 on the held-out scans, against the Gaussian
filter that is best for each of them. Detection: a ball of -500 HU in each lung of the held-out chests, against how
bright a voxel is.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from measure import Row, report

from meddiff.anatomy.labels import CLASS_IDS
from meddiff.config import DenoisingConfig, Organ, Region, Window, load_config
from meddiff.demo.phantom import Phantom, add_lesion
from meddiff.machine.device import set_up_cpu
from meddiff.machine.shards import done_rows
from meddiff.metrics.detection import VoxelScores
from meddiff.stages.low_dose import read_pair
from meddiff.store.record import Record
from meddiff.store.view import View
from meddiff.tasks.anomaly import Probe, anomaly_map, organ_mask
from meddiff.tasks.baselines import STRENGTHS, gaussian
from meddiff.tasks.denoising import METHODS, denoise
from meddiff.tasks.sampler import Sampler
from meddiff.volumes.hu import normalise

SIGMA_N, LITTLE_NOISE = 0.15, 0.021
LESION_HU, LESION_RADIUS_MM, LESIONS = -500.0, 12.0, 2
ANY_LUNG = "lung_upper_lobe_left"
TIMESTEPS = (500, 900, 950)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="output folder of the pipeline")
    parser.add_argument("--model", type=Path, help="bundle; none: that of the results")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    options = parser.parse_args()
    if not (options.results / "low_dose/index.tsv").exists():
        sys.exit(f"zero_shot: no results in {options.results}; run `make demo` first")
    logging.basicConfig(level=logging.WARNING)
    set_up_cpu(torch.get_num_threads())
    config = load_config(Path("config/config.yaml"))
    sampler = Sampler(options.model or options.results / "models/meddiff-fm", config.sampling, config.machine)
    store = {row.id: row.path.parent for row in done_rows(sorted((options.results / "data/store").glob("shard-*.tsv")))}
    pairs = done_rows([options.results / "low_dose/index.tsv"])
    held_out = [(Record(store[row.id]), read_pair(row).clean_zyx) for row in pairs if row.id in store]
    rows = []
    for record, clean_zyx in ((record, clean) for record, clean in held_out if record.meta.split == "test"):
        rows += denoising_rows(sampler, record, clean_zyx)
        if record.meta.region == Region.CHEST:
            rows += detection_rows(sampler, record, clean_zyx)
    report("zero_shot", rows, options.json)
    print(pd.DataFrame([vars(row) for row in rows]).groupby(["metric", "peer_name"])[["ours", "peer"]].mean())


def denoising_rows(sampler: Sampler, record: Record, clean: np.ndarray) -> list[Row]:
    """Return the PSNR of a noisy scan and of every method's result, beside that of the best Gaussian filter."""
    meta, anatomy = record.meta, record.anatomy[:]
    noise = np.random.default_rng(0).normal(0, SIGMA_N * meta.window.width_hu / 2, clean.shape)
    noisy = np.round(clean + noise).astype(np.int16)

    def denoised(scan: np.ndarray, method: Any, sigma_n: float) -> np.ndarray:
        noise_hu = sigma_n * meta.window.width_hu / 2
        config = DenoisingConfig(method=method)
        return denoise(sampler, View(scan, anatomy, meta.region, meta.window, meta.spacing_mm), config, noise_hu)

    found = {"noisy": noisy} | {method: denoised(noisy, method, SIGMA_N) for method in METHODS}
    psnrs = {name: psnr(result, clean, meta.window) for name, result in found.items()}
    best = max(psnr(gaussian(noisy, strength), clean, meta.window) for strength in STRENGTHS["gaussian"])
    kept = psnr(denoised(clean, "one-step", LITTLE_NOISE), clean, meta.window)
    print(f"{meta.id}: without noise, one step with sigma_n = {LITTLE_NOISE} keeps {kept:.1f} dB")
    return [Row(meta.id, name, value, best, "best gaussian", value / best) for name, value in psnrs.items()]


def psnr(hu: np.ndarray, clean_hu: np.ndarray, window: Window) -> float:
    """Return the PSNR of a volume in dB, within the model's window."""
    error = np.mean((normalise(hu, window) - normalise(clean_hu, window)) ** 2)
    return float(10 * np.log10(4 / error))


def detection_rows(sampler: Sampler, record: Record, clean: np.ndarray) -> list[Row]:
    """Return the AUC of every kind of map for lesions that are planted into a chest, beside that of the intensity."""
    meta, labels = record.meta, record.anatomy[:]
    organ = organ_mask(labels, Organ.LUNG, meta.spacing_mm, 10.0)
    scan = Phantom(clean, organ * np.uint8(CLASS_IDS[ANY_LUNG]), meta.spacing_mm)
    lesions = np.zeros_like(organ)
    for number in range(LESIONS):
        scan, lesion = add_lesion(scan, ANY_LUNG, LESION_RADIUS_MM, LESION_HU, number)
        lesions |= lesion & organ
    intensity = auc(normalise(scan.ct_zyx, meta.window) + 1, lesions, organ)
    view, rows = View(scan.ct_zyx, labels, meta.region, meta.window, meta.spacing_mm), []
    for t in TIMESTEPS:
        for masked in (True, False):
            found = anomaly_map(sampler, view, Organ.LUNG, organ, Probe(t, masked=masked))
            name = f"t {t}, {'organ alone' if masked else 'whole scan'}"
            for kind, score in {"|.|": np.abs(found), "brighter": np.maximum(found, 0)}.items():
                ours = auc(score, lesions, organ)
                rows.append(Row(meta.id, f"{name}, {kind}", ours, intensity, "intensity", ours / intensity))
    return rows


def auc(score_zyx: np.ndarray, lesion_zyx: np.ndarray, organ_zyx: np.ndarray) -> float:
    scores = VoxelScores()
    scores.add(score_zyx, lesion_zyx, organ_zyx)
    return scores.auc()


if __name__ == "__main__":
    main()
