"""Denoising the test pairs with one method and scoring it (Table 4).

Every method gives a scan on the pair's own grid, and is scored there slice by slice. What a method must be told of the
noise is measured on the validation pairs, or on the training pairs where there are none, never on a scan that is
scored; of that, a method sees the noisy scan alone.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meddiff.config import Config, Window
from meddiff.config.stages import settings_of
from meddiff.machine.device import choose_device
from meddiff.machine.files import digest, read_json, sha256, write_json
from meddiff.machine.shards import COLUMNS, Item, Row, done_rows, run_shard, sidecar
from meddiff.machine.tsv import write_tsv
from meddiff.metrics.fidelity import SCORING_WINDOW, fidelity
from meddiff.model.redcnn import RedCNN
from meddiff.stages.low_dose import Pair, facts_of, read_pair
from meddiff.stages.native_grid import denoise_scan, kept_detail, noise_hu
from meddiff.tasks.baselines import BASELINES, STRENGTHS, best_strength
from meddiff.tasks.sampler import Sampler
from meddiff.volumes import volumes

MODEL_PREFIX, RED_CNN, LDCT = "meddiff-fm-", "red-cnn", "ldct"
RED_CNN_WEIGHTS = "model.safetensors"
CALIBRATION_SLICES = 8

log = logging.getLogger(__name__)

Denoiser = Callable[[Pair], np.ndarray]


def filter_pairs(method: str, pairs: list[Row], config: Config, out: Path) -> list[dict[str, Any]]:
    """Write the test scans denoised by a method without a network, and return a row of metrics for each.

    Args:
        method: one of `FILTERS`.
        pairs: index of the pairs.
        config: the sections of the stage `filter`.
        out: folder of the denoised scans and their index, `index.tsv`.
    """
    return _denoise_pairs(method, partial(_filter, method), (), pairs, settings_of(config, "filter"), out)


def denoise_pairs(
    method: str, pairs: list[Row], config: Config, model: Path, red_cnn: Path, out: Path
) -> list[dict[str, Any]]:
    """Write the test scans denoised by a network, and return a row of metrics for each.

    Args:
        method: one of `DENOISING_NETWORKS`.
        pairs: index of the pairs.
        config: the sections of the stage `denoise`.
        model: bundle of the diffusion model.
        red_cnn: folder of RED-CNN; without weights, where there was nothing to learn from, its row stays empty.
        out: folder of the denoised scans and their index, `index.tsv`.
    """
    if method == RED_CNN:
        weights = red_cnn / RED_CNN_WEIGHTS
        prepare = partial(_red_cnn, weights, config)
    else:
        weights = model / "model.safetensors"
        prepare = partial(_model, method.removeprefix(MODEL_PREFIX), model, config)
    return _denoise_pairs(method, prepare, (weights,), pairs, settings_of(config, "denoise"), out)


def _denoise_pairs(
    method: str,
    prepare: Callable[[list[Pair]], tuple[Denoiser, dict[str, float]]],
    weights: tuple[Path, ...],
    pairs: list[Row],
    params: str,
    out: Path,
) -> list[dict[str, Any]]:
    index = out / "index.tsv"
    calibration = _of_split(pairs, "val") or _of_split(pairs, "train")
    test = _of_split(pairs, "test")
    if not calibration or not test or not all(path.exists() for path in weights):
        log.warning("%s: no pairs to test, or none to learn from; its row of Table 4 stays empty", method)
        write_tsv([], COLUMNS, index)
        return []
    run, facts = prepare([read_pair(row) for row in calibration])
    row_of = {row.id: row for row in test}

    def work(item: Item) -> dict[str, Any]:
        pair = read_pair(row_of[item.id])
        result_zyx = run(pair)
        volumes.write_image(volumes.like(result_zyx, pair.noisy), item.output)
        known = facts_of(row_of[item.id])
        return {name: known[name] for name in ("region", "simulated")} | fidelity(result_zyx, pair.clean_zyx) | facts

    decisive = (method, digest(facts), *map(sha256, weights))
    items = [Item(row.id, (row.path,), out / f"{row.id}.nii.gz", decisive) for row in test]
    run_shard(f"denoise {method}", items, params, work, index)
    return [{"id": row.id, **read_json(sidecar(row.path))["details"]} for row in done_rows([index])]


def _of_split(pairs: list[Row], split: str) -> list[Row]:
    return [row for row in pairs if facts_of(row)["split"] == split]


def _red_cnn(weights: Path, config: Config, _: list[Pair]) -> tuple[Denoiser, dict[str, float]]:
    network = RedCNN.load(weights, choose_device(config.machine.device))
    return lambda pair: keep_outside(network.denoise(pair.noisy_zyx), pair.noisy_zyx, network.window), {}


def _filter(method: str, calibration: list[Pair]) -> tuple[Denoiser, dict[str, float]]:
    if method == LDCT:
        return lambda pair: pair.noisy_zyx, {}
    run = BASELINES[method]
    if method not in STRENGTHS:
        return lambda pair: run(pair.noisy_zyx), {}
    slabs = [(_middle(pair.noisy_zyx), _middle(pair.clean_zyx)) for pair in calibration]
    strength = best_strength(run, STRENGTHS[method], slabs)
    return lambda pair: run(pair.noisy_zyx, strength), {"strength": strength}


def _middle(volume_zyx: np.ndarray) -> np.ndarray:
    """Return the middle slices; BM3D takes minutes for a whole scan, and as many tries."""
    first = max(0, (len(volume_zyx) - CALIBRATION_SLICES) // 2)
    return volume_zyx[first : first + CALIBRATION_SLICES]


def _model(name: str, model: Path, config: Config, calibration: list[Pair]) -> tuple[Denoiser, dict[str, float]]:
    sampler = Sampler(model, config.sampling, config.machine)
    sigma_hu, detail = float(np.mean([noise_hu(pair) for pair in calibration])), kept_detail(calibration)

    def run(pair: Pair) -> np.ndarray:
        return denoise_scan(sampler, pair, name, sigma_hu, detail, config)

    return run, {"sigma_hu": sigma_hu, "detail": detail}


def keep_outside(result_zyx: np.ndarray, input_zyx: np.ndarray, window: Window) -> np.ndarray:
    """Return the result, but the input where that lies outside of the window that the method sees."""
    inside = (input_zyx >= window.low_hu) & (input_zyx <= window.high_hu)
    return np.where(inside, result_zyx, input_zyx)


def train_red_cnn(pairs: list[Row], config: Config, out: Path) -> None:
    """Train RED-CNN on the training pairs, and write beside it of how many; without any there are no weights."""
    from meddiff.training.redcnn import train_redcnn

    training = [(pair.noisy_zyx, pair.clean_zyx) for pair in map(read_pair, _of_split(pairs, "train"))]
    if training:
        device = choose_device(config.machine.device)
        train_redcnn(training, SCORING_WINDOW, config.red_cnn, config.seed, device, out / RED_CNN_WEIGHTS)
    write_json({"scans": len(training)}, out / "source.json")
