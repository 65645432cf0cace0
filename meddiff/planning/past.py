"""What past runs took, as a factor for each rule: measured seconds over those of the cost model for the same work."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from meddiff.config import Config
from meddiff.config.stages import params_of
from meddiff.machine.files import read_json
from meddiff.machine.tsv import read_tsv
from meddiff.planning.cost import CostModel
from meddiff.planning.jobs import Job

STATISTICS = "stats.jsonl"  # what a training run tells (meddiff/training/status.py, which imports torch)
TRAININGS = {"pretrain": "pretrain", "finetune_lesions": "finetune-lesions"} | {
    "finetune_super_resolution": "finetune-super-resolution"
}


@dataclass(frozen=True)
class Past:
    """Factors by rule, and of how many jobs or trainings each is.

    A run without GPU says nothing of one with, so rules that ask for a GPU have a factor from runs on one only. Jobs
    that mostly start, as those of small trials, have none.
    """

    factors: dict[str, float]
    counts: dict[str, int]

    def of(self, rule: str) -> float:
        return self.factors.get(rule, 1.0)

    def under(self, better: "Past") -> "Past":
        """Return these, but for the rules of which a better past knows."""
        return Past(self.factors | better.factors, self.counts | better.counts)


def read_past(model: CostModel, finished: Sequence[Job]) -> Past:
    """Return the factors of a configuration's finished jobs and of its trainings, also those that still run.

    Args:
        model: of that configuration.
        finished: its jobs whose results are there, with the files of their benchmarks.
    """
    trainings = _read_trainings(model.config)
    on_gpu = model.config.machine.device == "cpu" or any("peak_gpu_gb" in row for run in trainings for row in run.rows)
    measured: dict[str, list[tuple[float, float]]] = {}
    for job in finished:
        seconds = _benchmark(job)
        if seconds and model.tells(job) and job.rule not in TRAININGS and (on_gpu or not job.gpus):
            measured.setdefault(job.rule, []).append((seconds, model.seconds(job) or 0.0))
    for run in trainings if on_gpu else ():
        measured.setdefault(run.rule, []).append((run.seconds_per_step, model.seconds_per_step(run.rule)))
    factors = {rule: sum(s for s, _ in pairs) / sum(m for _, m in pairs) for rule, pairs in measured.items()}
    return Past(factors, {rule: len(pairs) for rule, pairs in measured.items()})


def finished_jobs(every: Iterable[Job], remaining: Iterable[Job]) -> list[Job]:
    """Return the jobs that are among all of a run and not among those that are still to be done."""
    left = {_identity(job) for job in remaining}
    return [job for job in every if _identity(job) not in left]


@dataclass(frozen=True)
class _Training:
    rule: str
    rows: list[dict[str, Any]]

    @property
    def seconds_per_step(self) -> float:
        return median(row["seconds_per_step"] for row in self.rows)


def _read_trainings(config: Config) -> list[_Training]:
    """Return the trainings in the output folder that have this configuration."""
    variants = [config.with_model(variant.name) for variant in config.models]
    rules = {params_of(each, stage): rule for rule, stage in TRAININGS.items() for each in (config, *variants)}
    found = []
    for path in sorted((config.output_dir / "runs").glob("*/run.json")):
        rule, statistics = rules.get(read_json(path)["settings"]), path.with_name(STATISTICS)
        if rule and statistics.exists():
            rows = [json.loads(line) for line in statistics.read_text().splitlines()]
            if timed := [row for row in rows if "seconds_per_step" in row]:
                found.append(_Training(rule, timed))
    return found


def _identity(job: Job) -> tuple[str, tuple[tuple[str, str], ...]]:
    return job.rule, tuple(sorted(job.wildcards.items()))


def _benchmark(job: Job) -> float | None:
    """Return the seconds that Snakemake measured; a job without a number took no time at all."""
    if job.benchmark is None or not job.benchmark.exists():
        return None
    rows = read_tsv(job.benchmark)
    return float(rows[-1]["s"]) if rows and rows[-1]["s"].replace(".", "", 1).isdigit() else None
