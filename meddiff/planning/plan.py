"""The plan of a run: what its jobs take, stage by stage, and what about them a person should look at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from meddiff.machine.progress import duration
from meddiff.planning.cost import CostModel
from meddiff.planning.elapsed import elapsed_seconds
from meddiff.planning.jobs import Job
from meddiff.planning.past import Past

GPUS_AT_ONCE = {"1 GPU": 1, "4 GPUs": 4, "16 GPUs": 16, "no limit": float("inf")}
SHORT_MINUTES = 3.0  # below it, a job on a cluster mostly waits
CHAINED = ("pretrain", "distill", "finetune_lesions", "finetune_super_resolution", "supervised", "augment_lesions")


@dataclass(frozen=True)
class Stage:
    """The jobs of one rule; times are of one job, cores and GPUs, too."""

    rule: str
    jobs: int
    where: str
    cores: int
    gpus: int
    memory_gb: float
    shortest_minutes: float
    longest_minutes: float
    core_hours: float
    gpu_hours: float
    measured: int


@dataclass(frozen=True)
class Plan:
    """All stages, the disk by what lies there, the time by the number of GPUs, and warnings."""

    stages: list[Stage]
    disk_gb: dict[str, float]
    elapsed_hours: dict[str, float]
    scans: int
    scans_from: str
    warnings: list[str]

    @property
    def jobs(self) -> int:
        return sum(stage.jobs for stage in self.stages)

    def as_json(self) -> dict:
        return asdict(self) | {"jobs": self.jobs, "gpu_hours": self.gpu_hours, "core_hours": self.core_hours}

    @property
    def gpu_hours(self) -> float:
        return sum(stage.gpu_hours for stage in self.stages)

    @property
    def core_hours(self) -> float:
        return sum(stage.core_hours for stage in self.stages)


def make_plan(jobs: Sequence[Job], model: CostModel, past: Past, scans_from: str) -> Plan:
    """Return the plan of some jobs.

    Args:
        jobs: that are to be done.
        model: of their configuration.
        past: corrects the model.
        scans_from: where the numbers of scans are from, as words.
    """
    stages, warnings = [], []
    all_timed: list[tuple[Job, float]] = []
    for rule, group in groupby(jobs_in_order(jobs), key=lambda job: job.rule):
        same = list(group)
        timed = [(job, seconds * past.of(rule)) for job in same if (seconds := model.seconds(job)) is not None]
        if not timed:
            warnings.append(f"{rule}: the cost model does not know this rule; {len(same)} jobs are not counted")
        stages.append(_stage(rule, same, timed, past))
        all_timed += timed
        warnings += _warnings(rule, timed)
    done, seconds = [job for job, _ in all_timed], [s for _, s in all_timed]
    elapsed = {name: elapsed_seconds(done, seconds, gpus) / 3600 for name, gpus in GPUS_AT_ONCE.items()}
    return Plan(stages, model.disk_gb(), elapsed, sum(s.count for s in model.scans), scans_from, warnings)


def jobs_in_order(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs rule by rule, in the order in which the rules first appear."""
    first = {rule: number for number, rule in reversed(list(enumerate(job.rule for job in jobs)))}
    return sorted(jobs, key=lambda job: first[job.rule])


def table(plan: Plan) -> str:
    """Return the plan as lines for a terminal."""
    head = ("stage", "jobs", "where", "cores", "GPUs", "GB", "one job takes", "core h", "GPU h", "from")
    rows = [head, *(_cells(stage) for stage in plan.stages)]
    rows.append(("total", str(plan.jobs), "", "", "", "", "", f"{plan.core_hours:,.0f}", f"{plan.gpu_hours:,.0f}", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    left = {0, 2, 6, 9}
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    disk = ", ".join(f"{name} {gb:,.0f}" for name, gb in plan.disk_gb.items() if gb >= 0.5)
    times = ", ".join(f"{name} {duration(3600 * hours)}" for name, hours in plan.elapsed_hours.items())
    return "\n".join(
        [
            f"{plan.scans:,} scans ({plan.scans_from})",
            "",
            *lines,
            "",
            f"time, without waiting in queues: {times}",
            f"disk: {sum(plan.disk_gb.values()):,.0f} GB when all is done ({disk})" if disk else "disk: less than 1 GB",
            *(f"note: {warning}" for warning in plan.warnings),
        ]
    )


def _stage(rule: str, jobs: Sequence[Job], timed: Sequence[tuple[Job, float]], past: Past) -> Stage:
    seconds = [s for _, s in timed] or [0.0]
    return Stage(
        rule,
        len(jobs),
        "cluster" if jobs[0].submitted else "here",
        max(job.threads for job in jobs),
        max(job.gpus for job in jobs),
        max(job.mem_mb for job in jobs) / 1e3,
        min(seconds) / 60,
        max(seconds) / 60,
        sum(job.threads * s for job, s in timed) / 3600,
        sum(job.gpus * s for job, s in timed) / 3600,
        past.counts.get(rule, 0),
    )


def _warnings(rule: str, timed: Sequence[tuple[Job, float]]) -> list[str]:
    short = [s for job, s in timed if job.submitted and s < 60 * SHORT_MINUTES]
    long = [s for job, s in timed if job.runtime_min and s > 60 * job.runtime_min and rule not in CHAINED]
    found = []
    if short:
        found.append(
            f"{rule}: {len(short)} of {len(timed)} jobs are shorter than {SHORT_MINUTES:g} min"
            + ("; fewer shards make longer ones" if "shard" in timed[0][0].wildcards else "")
        )
    if long:
        found.append(
            f"{rule}: {len(long)} of {len(timed)} jobs take up to {duration(max(long))}, more than the limit of "
            f"{duration(60 * max(job.runtime_min or 0 for job, _ in timed))}; raise `runtime` in the profile's "
            "set-resources"
        )
    return found


def _cells(stage: Stage) -> tuple[str, ...]:
    low, high = duration(60 * stage.shortest_minutes), duration(60 * stage.longest_minutes)
    return (
        stage.rule,
        str(stage.jobs),
        stage.where,
        str(stage.cores),
        str(stage.gpus or ""),
        f"{stage.memory_gb:.0f}",
        low if low == high else f"{low} to {high}",
        f"{stage.core_hours:,.0f}",
        f"{stage.gpu_hours:,.0f}" if stage.gpus else "",
        f"{stage.measured} measured" if stage.measured else "model",
    )
