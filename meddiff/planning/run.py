"""Putting a plan together from a configuration, a manifest and past runs."""

from pathlib import Path

from meddiff.config import Config, load_config
from meddiff.datasets.index import read_manifest
from meddiff.errors import UserError
from meddiff.planning.cost import CostModel
from meddiff.planning.jobs import read_jobs
from meddiff.planning.past import Past, finished_jobs, read_past
from meddiff.planning.plan import Plan, make_plan
from meddiff.planning.scans import Scans, expected_scans, manifest_scans


def plan_run(config_file: Path, manifest: Path | None, profile: str | None, others: list[Path]) -> Plan:
    """Return the plan of what a run still has to do.

    Args:
        config_file: its configuration.
        manifest: its scans; None is the manifest in the output folder or, where none is yet, what the registry expects.
        profile: Snakemake's workflow profile.
        others: configurations of other runs, whose times count for what this run has not yet measured itself.

    Raises:
        UserError: a file is missing or wrong, or this is not the folder of the workflow.
    """
    config = load_config(config_file)
    scans, source = _scans(config, manifest)
    model = CostModel(config, scans)
    jobs = read_jobs(config_file, profile)
    past = Past({}, {})
    for other in [*others, config_file]:
        past = past.under(_past(other))
    return make_plan(jobs, model, past, source)


def _past(config_file: Path) -> Past:
    config = load_config(config_file)
    if not (config.output_dir / "benchmarks").exists():
        return Past({}, {})
    finished = finished_jobs(read_jobs(config_file, finished_too=True), read_jobs(config_file))
    return read_past(CostModel(config, _scans(config, None)[0]), finished)


def _scans(config: Config, manifest: Path | None) -> tuple[list[Scans], str]:
    found = manifest or config.output_dir / "data" / "manifest.tsv"
    if manifest and not manifest.exists():
        raise UserError(f"--manifest {manifest}: no such file; `meddiff index` makes one")
    cases = read_manifest(found) if found.exists() else []
    if manifest or {case.dataset for case in cases} & {dataset.name for dataset in config.data.datasets}:
        return manifest_scans(config, cases), str(found)
    return expected_scans(config), "the registry's numbers; there is no manifest of these datasets yet"
