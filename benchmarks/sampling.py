"""What whole-volume sampling costs and how good its scans are, by the model that comes with the package.

The paper's recipe, ours, cheaper ones, and students if there are any; the smallest held-out scan of each region. Needs
the results of `make demo`. What was drawn by an earlier call is kept, so that a call that was stopped goes on; the
paper's recipe takes an hour of a core for each seed.
"""

import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import Call, Candidate, Row, arguments, compare, measure, report

from meddiff.config import CoarseToFineConfig, MachineConfig, SamplingConfig, load_config
from meddiff.machine.device import set_up_cpu
from meddiff.machine.files import read_json
from meddiff.machine.shards import read_index, sidecar
from meddiff.metrics import extractor
from meddiff.metrics.distribution import distances
from meddiff.stages.evaluate import Scorer
from meddiff.stages.segment import segment_synthetic
from meddiff.stages.synthesize import synthesize_records
from meddiff.store.query import held_out, open_store
from meddiff.store.record import Record
from meddiff.tasks.sampler import Sampler
from meddiff.weights import FOUNDATION, shipped_bundle

RESULTS, WORK = Path("results"), Path("results/benchmarks/sampling")
PAPER, OWN = "paper: ddpm 1000", "its own recipe"
METRICS = ("tflop", "dice", "ms_ssim", "lpips", "seams", "fid", "mmd")
PROJECT = load_config(Path("config/config.yaml"))


@dataclass(frozen=True)
class Recipe:
    """How to sample: a model and a configuration, of which the model's own recipe fills what it leaves open."""

    model: Path
    config: SamplingConfig


def coarse_to_fine(double: int, patch: int, noise: float) -> SamplingConfig:
    """Return four steps of the region, then so many at the finer levels, that of patches from this noise on."""
    own = CoarseToFineConfig(double_steps=double, patch_steps=patch, patch_noise=noise)
    return SamplingConfig(sampler="coarse-to-fine", steps=4, coarse_to_fine=own)


def recipes(students: list[Path]) -> dict[str, Recipe]:
    """Return the recipes, the paper's first."""
    configs = {
        PAPER: SamplingConfig(solver="ddpm", steps=1000, drawing_overlap=None),
        "the default: 10 steps, overlap 0.5": SamplingConfig(
            steps=10, last_noise=0.02, overlap=0.5, drawing_overlap=None
        ),
        "10 steps": SamplingConfig(steps=10, last_noise=0.02),
        "4 steps, overlap 0.25": SamplingConfig(steps=4, drawing_overlap=None),
        "4 steps": SamplingConfig(steps=4),
        "2 steps, overlap 0.25": SamplingConfig(steps=2, drawing_overlap=None),
        OWN: SamplingConfig(),
        "1 step": SamplingConfig(steps=1),
        "coarse to fine 4, 3, 2, noise 2": coarse_to_fine(3, 2, 2.0),
    }
    found = {name: Recipe(shipped_bundle(FOUNDATION), config) for name, config in configs.items()}
    for student in students:
        for name, config in {
            "overlap 0.25": SamplingConfig(overlap=0.25, drawing_overlap=None),
            "fitted": SamplingConfig(drawing_overlap=0.0625),
            "coarse to fine": coarse_to_fine(1, 1, 1.0),
        }.items():
            found[f"{student.name}, {name}"] = Recipe(student, config)
    return found


def main() -> None:
    options = arguments(
        __doc__ or "",
        only={"default": "", "help": "draw recipes whose names contain this; no seconds are measured"},
        seeds={"type": int, "default": 3, "help": "drawings of each scan"},
        students={"type": Path, "nargs": "*", "default": [], "help": "folders of few-step bundles"},
    )
    if not (RESULTS / "report" / "index.html").exists():
        sys.exit("sampling: no results of the demo; run `make demo` first")
    set_up_cpu(torch.get_num_threads())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("meddiff").setLevel(logging.INFO)
    cases = smallest_of_each_region(held_out(open_store(sorted((RESULTS / "data" / "store").glob("shard-*.tsv")))))
    chosen = {name: recipe for name, recipe in recipes(options.students).items() if options.only in name}
    if options.quick:
        chosen = {name: chosen[name] for name in (OWN, "1 step")}
    lines = []
    for name, recipe in chosen.items():
        lines += [{"recipe": name, "seed": s} | quality(name, recipe, cases, s) for s in range(options.seeds)]
        print(pd.DataFrame(lines).drop(columns="by_scan").round(4).to_string(), flush=True)
    if options.only:
        return
    by_seed = pd.DataFrame(lines).groupby("recipe", sort=False)
    table = by_seed[list(METRICS)].mean()
    table = table.join(by_seed[["dice", "ms_ssim", "seams", "fid", "mmd"]].std().add_suffix("_spread"))
    table = table.join(costs(chosen, cases[0], repeats=2 if options.quick else 5))
    print(table.round(4).to_string())
    report("sampling", _rows(table, PAPER if PAPER in chosen else OWN), options.json)
    if not options.quick:
        pd.DataFrame(lines).round(5).to_csv(Path(__file__).with_name("sampling.csv"), index=False)


def smallest_of_each_region(records: list[Record]) -> list[Record]:
    by_size = sorted(records, key=lambda record: math.prod(record.meta.size_zyx), reverse=True)
    return list({record.meta.region: record for record in by_size}.values())


def quality(name: str, recipe: Recipe, cases: list[Record], seed: int) -> dict[str, float]:
    """Draw the held-out volumes, judge them, and return the means of their metrics and their cost in TFLOP."""
    folder = WORK / name.replace(" ", "-").replace(":", "").replace(",", "") / str(seed)
    sampler = Sampler(recipe.model, recipe.config, MachineConfig(windows_per_batch=8))
    index = folder / "index.tsv"
    synthesize_records(sampler, cases, sampler.config.model_dump_json(), seed, index)
    drawn = [row for row in read_index(index) if row.status == "done"]
    segment_synthetic(drawn, PROJECT, folder / "judged" / "index.tsv")
    weights = RESULTS / "models" / "extractor" / "weights.safetensors"
    network = extractor.load(weights, weights.with_name("source.json"), torch.device("cpu"))
    scorer = Scorer(folder, folder / "judged", network, PROJECT)
    metrics, fake = zip(*(scorer.score(case) for case in cases), strict=True)
    names = pd.read_csv(RESULTS / "metrics" / "real.csv")["id"].tolist()
    real = np.load(RESULTS / "metrics" / "real.npz")["features"][[names.index(case.id) for case in cases]]
    found = pd.DataFrame(metrics)[["dice", "ms_ssim", "lpips", "seams"]]
    return {
        "tflop": sum(read_json(sidecar(row.path))["details"]["tflop"] for row in drawn),
        **found.mean().to_dict(),
        **distances(real, np.stack(fake)),
        "by_scan": " ".join(f"{value:.4f}" for value in found["dice"]),
    }


def costs(chosen: dict[str, Recipe], case: Record, repeats: int) -> pd.DataFrame:
    """Return seconds and peak memory of one volume, by recipe; of the paper's, a step's times its steps."""
    found = measure(
        {name: Candidate(drawing, (name == PAPER, recipe, case)) for name, recipe in chosen.items()}, repeats
    )
    rows = {name: {"seconds": m.seconds * m.result, "peak_mb": m.peak_mb} for name, m in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def drawing(one_step: bool, recipe: Recipe, case: Record) -> Call:
    """Return the drawing of a volume, or the estimate of one step of it; its result is how often that is done."""
    from meddiff.diffusion.sampling import sample_levels

    set_up_cpu(torch.get_num_threads())
    sampler = Sampler(recipe.model, recipe.config, MachineConfig(windows_per_batch=8))
    anatomy, region = case.anatomy[:], case.meta.region

    def draw() -> int:
        sample_levels(sampler.levels(anatomy, region), 0)
        return 1

    def step() -> int:
        windows.estimate_x0(x, windows.diffusion.timesteps // 2, 0)
        return sampler.config.recipe(sampler.model.diffusion.prediction).steps

    if not one_step:
        return draw
    windows = sampler.windows(anatomy, region)
    x = torch.randn(windows.size_zyx)
    return step


def _rows(table: pd.DataFrame, reference: str) -> list[Row]:
    rows = []
    for name in table.index.drop(reference):
        for metric in ("tflop", "seconds", "peak_mb", "seams", "lpips", "fid", "mmd"):
            rows.append(compare(name, metric, table.loc[name, metric], table.loc[reference, metric], reference))
        ours, theirs = table.loc[name, "dice"], table.loc[reference, "dice"]
        rows.append(Row(name, "dice", ours, theirs, reference, ours / theirs))
    return rows


if __name__ == "__main__":
    main()
