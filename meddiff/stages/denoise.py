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

from meddiff.config import TRAINED_DENOISERS, Config, DenoiserRecipe, Window
from meddiff.config.stages import settings_of
from meddiff.machine.device import choose_device
from meddiff.machine.files import digest, read_json, sha256, write_json
from meddiff.machine.shards import COLUMNS, Item, Row, done_rows, run_shard, sidecar
from meddiff.machine.tsv import write_tsv
from meddiff.metrics.fidelity import SCORING_WINDOW, fidelity
from meddiff.model.mapnn import MapNN
from meddiff.model.noise2sim import Noise2Sim
from meddiff.model.redcnn import RedCNN
from meddiff.model.slice_denoiser import SliceDenoiser
from meddiff.stages.low_dose import Pair, facts_of, read_pair
from meddiff.stages.native_grid import denoise_scan, guide_scan, kept_detail, noise_hu
from meddiff.tasks.baselines import BASELINES, STRENGTHS, best_strength
from meddiff.tasks.sampler import Sampler
from meddiff.training.denoisers import LEARNERS, train_denoiser
from meddiff.training.run import Run
from meddiff.volumes import volumes

MODEL_PREFIX, GUIDED, LDCT = "meddiff-fm-", "guided", "ldct"
WEIGHTS = "model.safetensors"
TRAINED: dict[str, type[SliceDenoiser]] = {"red-cnn": RedCNN, "map-nn": MapNN, "noise2sim": Noise2Sim}
CALIBRATION_SLICES = 4

log = logging.getLogger(__name__)

Denoiser = Callable[[Pair], np.ndarray]


def filter_pairs(method: str, pairs: list[Row], config: Config, out: Path) -> list[dict[str, Any]]:
    """Write the test scans denoised by a method without a network, and return a row of metrics for each.

    Args:
        method: one of `FILTERS`.
        pairs: index of the pairs.
        config: the sections of the stage `filter_pairs`.
        out: folder of the denoised scans and their index, `index.tsv`.
    """
    return _denoise_pairs(method, partial(_filter, method), (), pairs, settings_of(config, "filter_pairs"), out)


def denoise_pairs(
    method: str, pairs: list[Row], config: Config, model: Path, trained: Path, out: Path
) -> list[dict[str, Any]]:
    """Write the test scans denoised by a network, and return a row of metrics for each.

    Args:
        method: one of `DENOISING_NETWORKS`.
        pairs: index of the pairs.
        config: the sections of the stage `denoise_pairs`.
        model: bundle of the diffusion model.
        trained: folder of the folders of the trained denoisers; of one without weights, because there was nothing to
            learn from, the row stays empty.
        out: folder of the denoised scans and their index, `index.tsv`.
    """
    if method in TRAINED_DENOISERS:
        weights = trained / method / WEIGHTS
        prepare = partial(_trained, TRAINED[method], weights, config)
    else:
        weights = model / WEIGHTS
        prepare = partial(_model, method.removeprefix(MODEL_PREFIX), model, config)
    return _denoise_pairs(method, prepare, (weights,), pairs, settings_of(config, "denoise_pairs"), out)


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

    def work(item: Item) -> dict[str, Any]:
        pair, known = read_pair(item.of), facts_of(item.of)
        result_zyx = run(pair)
        volumes.write_image(volumes.like(result_zyx, pair.noisy), item.output)
        return {name: known[name] for name in ("region", "simulated")} | fidelity(result_zyx, pair.clean_zyx) | facts

    decisive = (method, digest(facts), *map(sha256, weights))
    items = [Item(row.id, (row.path,), out / f"{row.id}.nii.gz", decisive, row) for row in test]
    run_shard(f"denoise {method}", items, params, work, index)
    return [{"id": row.id, **read_json(sidecar(row.path))["details"]} for row in done_rows([index])]


def _of_split(pairs: list[Row], split: str) -> list[Row]:
    return [row for row in pairs if facts_of(row)["split"] == split]


def _trained(
    kind: type[SliceDenoiser], weights: Path, config: Config, calibration: list[Pair]
) -> tuple[Denoiser, dict[str, float]]:
    """Choice: the depth of MAP-NN, its strength, is tuned as that of a filter; there radiologists choose it."""
    network, facts = kind.load(weights, choose_device(config.machine.device)), {}
    if isinstance(network, MapNN):
        network = _at_best_depth(network, calibration)
        facts = {"depth": float(network.depth)}
    return lambda pair: keep_outside(network.denoise(pair.noisy_zyx), pair.noisy_zyx, network.window), facts


def _at_best_depth(network: MapNN, calibration: list[Pair]) -> MapNN:
    depths = range(1, network.depth + 1)
    best = best_strength(lambda hu, depth: network.at_depth(int(depth)).denoise(hu), depths, _slabs(calibration))
    return network.at_depth(int(best))


def _filter(method: str, calibration: list[Pair]) -> tuple[Denoiser, dict[str, float]]:
    if method == LDCT:
        return lambda pair: pair.noisy_zyx, {}
    run = BASELINES[method]
    if method not in STRENGTHS:
        return lambda pair: run(pair.noisy_zyx), {}
    strength = best_strength(run, STRENGTHS[method], _slabs(calibration))
    return lambda pair: run(pair.noisy_zyx, strength), {"strength": strength}


def _slabs(pairs: list[Pair]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(_middle(pair.noisy_zyx), _middle(pair.clean_zyx)) for pair in pairs]


def _middle(volume_zyx: np.ndarray) -> np.ndarray:
    """Return the middle slices; BM3D takes minutes for a whole scan, and as many tries."""
    first = max(0, (len(volume_zyx) - CALIBRATION_SLICES) // 2)
    return volume_zyx[first : first + CALIBRATION_SLICES]


def _model(name: str, model: Path, config: Config, calibration: list[Pair]) -> tuple[Denoiser, dict[str, float]]:
    sampler = Sampler(model, config.sampling, config.machine)
    if name == GUIDED:
        return lambda pair: guide_scan(sampler, pair, config), {}
    sigma_hu, detail = float(np.mean([noise_hu(pair) for pair in calibration])), kept_detail(calibration)

    def run(pair: Pair) -> np.ndarray:
        return denoise_scan(sampler, pair, name, sigma_hu, detail, config)

    return run, {"sigma_hu": sigma_hu, "detail": detail}


def keep_outside(result_zyx: np.ndarray, input_zyx: np.ndarray, window: Window) -> np.ndarray:
    """Return the result, but the input where that lies outside of the window that the method sees."""
    inside = (input_zyx >= window.low_hu) & (input_zyx <= window.high_hu)
    return np.where(inside, result_zyx, input_zyx)


def train_on_pairs(
    name: str, pairs: list[Row], config: Config, runs: Path, out: Path, max_minutes: float = float("inf")
) -> None:
    """Train a denoiser on the training pairs, and write beside it of how many; without any there are no weights.

    Args:
        name: one of `TRAINED_DENOISERS`.
        pairs: index of the pairs.
        config: the sections of the stage.
        runs: folder of the run folders.
        out: folder of the weights.
        max_minutes: end with a checkpoint after this time.

    Raises:
        TimeSliceEnded: the time is up; the same call goes on.
    """
    training = [read_pair(row) for row in _of_split(pairs, "train")]
    if training:
        recipe: DenoiserRecipe = getattr(config, name.replace("-", "_"))
        supervised = LEARNERS[name].supervised
        scans = [(pair.noisy_zyx, pair.clean_zyx) if supervised else (pair.noisy_zyx,) for pair in training]
        device = choose_device(config.machine.device)
        run = Run(name, runs, config.seed, device, recipe.steps, max_minutes, config.machine)
        train_denoiser(run, scans, SCORING_WINDOW, recipe, out / WEIGHTS)
    write_json({"scans": len(training)}, out / "source.json")
