"""What whole-volume sampling costs and how good its scans are: the paper's recipe, each saving, the defaults.

Needs the results of `make demo`, and for the few-step model its bundle (`workflow/rules/distill.smk`). Volumes that
were drawn by an earlier call are kept, so that a call that was stopped goes on.
"""

import logging
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import Call, Candidate, Row, arguments, compare, measure, report

from meddiff.config import Config, MachineConfig, SamplingConfig, load_config
from meddiff.machine.device import set_up_cpu
from meddiff.machine.files import read_json
from meddiff.machine.shards import read_index, sidecar
from meddiff.metrics import extractor
from meddiff.metrics.distribution import distances
from meddiff.model.info import window_flops
from meddiff.stages.evaluate import Scorer
from meddiff.stages.segment import segment_synthetic
from meddiff.stages.synthesize import synthesize_records
from meddiff.store.query import held_out, open_store
from meddiff.store.record import Record
from meddiff.tasks.sampler import Sampler

RESULTS, WORK = Path("results"), Path("results/benchmarks/sampling")
MODEL = RESULTS / "models" / "meddiff-fm"
FEW_STEPS = MODEL / "few-steps"
SCANS = 1  # the smallest ones; the paper's recipe takes half an hour for each
PAPER, REFERENCE = "paper: ddpm 1000", "ddim 10"
# The paper's windows and nothing saved; its 1,000 ancestral steps, and ten steps of DDIM for the savings one by one.
PLAIN = SamplingConfig(windows="averaged", overlap=0.5, skip_air=False, bfloat16=False)
NOTHING_SAVED = MachineConfig(cache_conditions=False, windows_per_batch=1)


@dataclass(frozen=True)
class Recipe:
    """How to sample: a model and a configuration."""

    model: Path
    config: SamplingConfig
    machine: MachineConfig = NOTHING_SAVED


def recipes() -> dict[str, Recipe]:
    """Return the recipes, the paper's first."""
    ddim = PLAIN.model_copy(update={"solver": "ddim", "steps": 10})
    changes = {
        REFERENCE: {},
        "ddim 10, air skipped": {"skip_air": True},
        "ddim 10, overlap 0.25": {"overlap": 0.25},
        "ddim 10, shifted windows": {"windows": "shifted"},
        "ddim 10, bfloat16": {"bfloat16": True},
    }
    runs = {
        "ddim 10, conditions cached": {"cache_conditions": True},
        "ddim 10, 8 windows a batch": {"windows_per_batch": 8},
    }
    if shutil.which("g++"):
        runs["ddim 10, compiled"] = {"compile": True}
    changes |= {f"{name}, bfloat16": {"bfloat16": True, "solver": solver, "steps": steps} for name, solver, steps in (
        ("ddim 50", "ddim", 50), ("ddim 25", "ddim", 25), ("ddim 8", "ddim", 8),
        ("dpm-solver++ 10", "dpm-solver++", 10), ("unipc 10", "unipc", 10),
    )}  # fmt: skip
    found = {name: Recipe(MODEL, ddim.model_copy(update=change)) for name, change in changes.items()}
    found |= {name: Recipe(MODEL, ddim, NOTHING_SAVED.model_copy(update=run)) for name, run in runs.items()}
    found["defaults"] = Recipe(MODEL, SamplingConfig(), MachineConfig())
    if FEW_STEPS.exists():
        found["few-step model, defaults"] = Recipe(FEW_STEPS, SamplingConfig(), MachineConfig())
        shifted = SamplingConfig().model_copy(update={"windows": "shifted"})
        found["few-step model, shifted windows"] = Recipe(FEW_STEPS, shifted, MachineConfig())
        little = SamplingConfig().model_copy(update={"overlap": 0.125})
        found["few-step model, overlap 0.125"] = Recipe(FEW_STEPS, little, MachineConfig())
    ancestral = {"solver": "ddpm", "steps": 1000}
    return {PAPER: Recipe(MODEL, PLAIN.model_copy(update=ancestral))} | found


def to_draw(name: str, recipe: Recipe) -> Recipe:
    """Return the recipe with the savings that change its scans by rounding alone; one recipe shows by how much."""
    if name == REFERENCE:
        return recipe
    machine = recipe.machine.model_copy(update={"cache_conditions": True, "windows_per_batch": 8})
    return Recipe(recipe.model, recipe.config.model_copy(update={"bfloat16": True}), machine)


def main() -> None:
    options = arguments(__doc__ or "")
    if not (RESULTS / "report" / "index.html").exists():
        sys.exit("sampling: no results of the demo; run `make demo` first")
    set_up_cpu(torch.get_num_threads())
    config = load_config(Path("config/config.yaml"))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("meddiff").setLevel(logging.INFO)
    records = held_out(open_store(sorted((RESULTS / "data" / "store").glob("shard-*.tsv"))))
    cases = sorted(records, key=lambda record: math.prod(record.meta.size_zyx))[:SCANS]
    chosen = recipes()
    if options.quick:
        chosen = {name: chosen[name] for name in (REFERENCE, "defaults")}
    table = pd.DataFrame([{"recipe": name} | quality(name, recipe, cases, config) for name, recipe in chosen.items()])
    table = table.set_index("recipe").join(costs(chosen, cases[0], repeats=2 if options.quick else 5))
    print(table.round(4).to_string())
    reference = PAPER if PAPER in chosen else REFERENCE
    report("sampling", _rows(table, reference), options.json)
    if not options.quick:
        table.round(5).to_csv(Path(__file__).with_name("sampling.csv"))
        _plot(table, Path(__file__).with_name("sampling.png"))


def quality(name: str, recipe: Recipe, cases: list[Record], config: Config) -> dict[str, float]:
    """Draw the held-out volumes, judge them, and return the means of their metrics and their cost in TFLOP."""
    folder = WORK / f"{len(cases)} {name}".replace(" ", "-").replace(":", "").replace(",", "")
    drawn_with = to_draw(name, recipe)
    sampler = Sampler(recipe.model, drawn_with.config, drawn_with.machine)
    index = folder / "index.tsv"
    synthesize_records(sampler, cases, recipe.config.model_dump_json(), 0, index)
    drawn = [row for row in read_index(index) if row.status == "done"]
    segment_synthetic(drawn, config, folder / "judged" / "index.tsv")
    network = extractor.load(
        RESULTS / "models/extractor/weights.safetensors", RESULTS / "models/extractor/source.json", torch.device("cpu")
    )
    scorer = Scorer(folder, folder / "judged", network, config)
    metrics, fake = zip(*(scorer.score(case) for case in cases), strict=True)
    names = pd.read_csv(RESULTS / "metrics" / "real.csv")["id"].tolist()
    real = np.load(RESULTS / "metrics" / "real.npz")["features"][[names.index(case.id) for case in cases]]
    facts = [read_json(sidecar(row.path))["details"] for row in drawn]
    return {
        "tflop": _tflop(sampler, recipe.machine, facts),
        **pd.DataFrame(metrics)[["dice", "ms_ssim", "lpips", "seams"]].mean().to_dict(),
        **distances(real, np.stack(fake)),
        "scans": len(cases),
        "features": real.shape[0] * real.shape[1],
    }


def _tflop(sampler: Sampler, machine: MachineConfig, facts: list[dict]) -> float:
    estimate, encoding = window_flops(sampler.model.network.config)
    estimates, encodings = (sum(fact[name] for fact in facts) for name in ("estimates", "encodings"))
    return (estimates * estimate + (encodings if machine.cache_conditions else estimates) * encoding) / 1e12


def costs(chosen: dict[str, Recipe], case: Record, repeats: int) -> pd.DataFrame:
    """Return seconds and peak memory of one volume, by recipe: the median time of a step times the steps."""
    found = measure({name: Candidate(one_step, (recipe, case)) for name, recipe in chosen.items()}, repeats)
    rows = {name: {"seconds": m.seconds * m.result, "peak_mb": m.peak_mb} for name, m in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def one_step(recipe: Recipe, case: Record) -> Call:
    """Return the estimate of one step of a volume; its result is the number of steps."""
    set_up_cpu(torch.get_num_threads())
    sampler = Sampler(recipe.model, recipe.config, recipe.machine)
    windows = sampler.windows(case.anatomy[:], case.meta.region)
    x = torch.randn(windows.size_zyx)

    def step() -> int:
        windows.estimate_x0(x, windows.diffusion.timesteps // 2, 0)
        return sampler.config.recipe(sampler.model.diffusion.prediction).steps

    return step


def _rows(table: pd.DataFrame, reference: str) -> list[Row]:
    rows = []
    for name in table.index.drop(reference):
        for metric in ("tflop", "seconds", "peak_mb", "seams", "lpips", "fid", "mmd"):
            rows.append(compare(name, metric, table.loc[name, metric], table.loc[reference, metric], reference))
        ours, theirs = table.loc[name, "dice"], table.loc[reference, "dice"]
        rows.append(Row(name, "dice", ours, theirs, reference, ours / theirs))
    return rows


def _plot(table: pd.DataFrame, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, metric, label in zip(axes, ("dice", "seams"), ("Dice with the condition", "seam ratio"), strict=True):
        axis.semilogx(table["tflop"], table[metric], "o")
        for name, row in table.iterrows():
            axis.annotate(str(name), (row["tflop"], row[metric]), fontsize=6, xytext=(3, 3), textcoords="offset points")
        axis.set(xlabel="TFLOP, all volumes", ylabel=label)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
