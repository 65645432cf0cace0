"""The jobs of a run, as Snakemake's dry run prints them: the graph is the rules' own, so that it cannot drift."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from meddiff.errors import UserError

SNAKEFILE = Path("Snakefile")
NO_LIMIT = "1000000"  # of cores: the dry run shall not cut the rules' threads down
_JOB = re.compile(r"^(?:local)?rule (\w+):$")
_FIELD = re.compile(r"^    (\w+): (.*)$")


@dataclass(frozen=True)
class Job:
    """One job, with what it asks for; `gpus` are those of all its nodes. Not `submitted`: it runs beside Snakemake."""

    rule: str
    wildcards: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    gpus: int = 0
    mem_mb: int = 0
    runtime_min: int | None = None
    submitted: bool = False
    benchmark: Path | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def read_jobs(config: Path, profile: str | None = None, finished_too: bool = False) -> list[Job]:
    """Return the jobs that a run with this configuration still has to do, without rules that only gather others.

    Args:
        config: for `--configfile`.
        profile: for `--workflow-profile`.
        finished_too: also those whose results are there.

    Raises:
        UserError: this is not the workflow's folder, or Snakemake refuses; its reason is given.
    """
    if not SNAKEFILE.exists():
        raise UserError("no Snakefile here; run this in the folder of the workflow")
    command = [sys.executable, "-m", "snakemake", "all", "--dry-run", "--nocolor", "--cores", NO_LIMIT]
    command += ["--configfile", str(config)]
    command += ["--workflow-profile", profile] if profile else []
    command += ["--forceall"] if finished_too else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(_reason(done.stderr))
    return parse_jobs(done.stdout, local_rules(SNAKEFILE.read_text(encoding="utf-8")))


def parse_jobs(printed: str, local: set[str]) -> list[Job]:
    """Return the jobs of a dry run's output."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in printed.splitlines():
        if start := _JOB.match(line):
            found.append((start[1], {}))
        elif found and (entry := _FIELD.match(line)):
            found[-1][1][entry[1]] = entry[2]
    return [_job(rule, fields, rule in local) for rule, fields in found if "output" in fields]


def local_rules(snakefile: str) -> set[str]:
    """Return the names under `localrules:`; a dry run does not tell."""
    block = re.search(r"^localrules:\n((?: +\w+,?\n)+)", snakefile, re.MULTILINE)
    return set(re.findall(r"\w+", block[1])) if block else set()


def _job(rule: str, fields: dict[str, str], local: bool) -> Job:
    asked = _pairs(fields.get("resources", ""))
    gpus = asked.get("gpu", "0") if "gres" not in asked else asked["gres"].rpartition(":")[2]
    runtime = asked.get("runtime", "")
    return Job(
        rule,
        _pairs(fields.get("wildcards", "")),
        int(fields.get("threads", "1")),
        int(gpus) * int(asked.get("nodes", "1")),
        int(asked.get("mem_mb", "0")),
        int(runtime) if runtime.isdigit() else None,
        "slurm_partition" in asked and not local,
        Path(fields["benchmark"]) if "benchmark" in fields else None,
        tuple(fields.get("input", "").split(", ")),
        tuple(fields["output"].split(", ")),
    )


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split(", ") if "=" in pair)


def _reason(stderr: str) -> str:
    """Return the one line that says why Snakemake stopped: ours where there is one."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    ours = [line.removeprefix("meddiff: ") for line in lines if line.startswith("meddiff: ")]
    return "\n".join(ours) or f"snakemake: {lines[-1] if lines else 'failed without a word'}"
