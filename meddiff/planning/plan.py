"""The plan of a run: its jobs, rule by rule, what they ask for, and how long they take where that was measured."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from meddiff.config import load_config
from meddiff.planning.jobs import Job, remaining_jobs
from meddiff.planning.scans import count_scans
from meddiff.planning.work import JOBS, Work


def plan_run(config_file: Path, profile: str | None) -> dict[str, Any]:
    """Return what a run still has to do, for JSON; see `make_plan`.

    Raises:
        UserError: see `remaining_jobs` and `count_scans`.
    """
    config, jobs = load_config(config_file), remaining_jobs(config_file, profile)
    manifest = config.output_dir / "data" / "manifest.tsv"
    counted = manifest.exists() and all(job.rule != "index" for job in jobs)
    work = Work(config, count_scans(config, manifest if counted else None))
    return {"scans_from": str(manifest) if counted else "their publishers"} | make_plan(jobs, work)


def make_plan(jobs: Sequence[Job], work: Work) -> dict[str, Any]:
    """Return the plan of some jobs. A rule has the most that one of its jobs asks for, and the hours of all of them."""
    rules = []
    for rule, count in Counter(job.rule for job in jobs).items():
        asked = [job._asdict() for job in jobs if job.rule == rule]
        row = {"rule": rule, "jobs": count, **{name: max(each[name] for each in asked) for name in Job._fields[1:]}}
        amount, rate = JOBS.get(rule, (None, None))
        row["hours"] = count * amount(work) / rate.value / 3600 if amount and rate else None
        row["reckoned_with"] = f"{rate.value:g} {rate.unit}, {rate.hardware}" if rate else "not measured"
        rules.append(row)
    gpu_hours = sum(row["hours"] or 0 for row in rules if row["gpus"])
    scans = sum(sum(each.by_split.values()) for each in work.scans)
    return {"scans": scans, "rules": rules, "gpu_hours": gpu_hours, "disk_gb": work.disk_gb()}


def as_text(plan: dict[str, Any]) -> str:
    """Return a plan for a terminal."""
    unmeasured = sum(row["jobs"] for row in plan["rules"] if row["gpus"] and row["hours"] is None)
    disk = ", ".join(f"{name} {gb:,.0f}" for name, gb in plan["disk_gb"].items())
    return (
        f"{plan['scans']:,} scans, as counted by {plan['scans_from']}\n\n"
        f"{tabulate(plan['rules'], headers='keys', floatfmt=',.1f')}\n\n"
        f"{plan['gpu_hours']:,.0f} GPU hours, and those of {unmeasured} jobs that ask for a GPU and were not measured\n"
        f"{sum(plan['disk_gb'].values()):,.0f} GB when all is done ({disk}); the rest was not measured"
    )
