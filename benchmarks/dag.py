"""The dry run of the paper's workflow on its full manifest (stub files), and on ten times as many cases; CPU time."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import yaml
from measure import arguments, children_seconds, compare, memory_mb, report

from meddiff.config import load_config
from meddiff.datasets import REGISTRY
from meddiff.datasets.index import Case, write_manifest
from meddiff.datasets.splits import draw_by_hash

ROOT = Path(__file__).parents[1]
AIM_SECONDS, AIM_MB = 3.0, 200.0
CORES = 2


def main() -> None:
    options = arguments(__doc__ or "")
    repeats = 1 if options.quick else 5
    (case, seconds, peak_mb), (case_10, seconds_10, peak_mb_10) = (dry_run(times, repeats) for times in (1, 10))
    rows = [
        compare(case, "seconds", seconds, AIM_SECONDS, "aim"),
        compare(case, "peak_mb", peak_mb, AIM_MB, "aim"),
        compare(case_10, "seconds", seconds_10, 10 * seconds, "linear-growth"),
        compare(case_10, "peak_mb", peak_mb_10, 10 * peak_mb, "linear-growth"),
    ]
    report("dag", rows, options.json)


def dry_run(times: int, repeats: int) -> tuple[str, float, float]:
    """Return what was planned, and the median CPU seconds and megabytes of `snakemake -n all`."""
    with tempfile.TemporaryDirectory() as name:
        config, cases = stub(Path(name), times)
        command = [sys.executable, "-m", "snakemake", "-n", "all", "--configfile", str(config), "--cores", str(CORES)]
        found = [_run(command) for _ in range(repeats)]
    jobs = found[0][2]
    return f"{cases:,} cases, {jobs:,} jobs", median(run[0] for run in found), median(run[1] for run in found)


def stub(folder: Path, times: int) -> tuple[Path, int]:
    """Write roots with an empty file per case, the manifest and the configuration; return that and the cases."""
    tree = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    shares, cases = load_config(ROOT / "config" / "paper.yaml").data.split, []
    shards = tree["machine"]["data_shards"] = tree["machine"]["data_shards"] * times
    tree["output_dir"] = str(folder / "results")
    for entry in tree["data"]["datasets"]:
        dataset = REGISTRY[entry["name"]]
        root = folder / "raw" / dataset.name
        entry["root"] = str(root)
        root.mkdir(parents=True)
        for number in range((dataset.cases_paper or 0) * times):
            name, image = f"case{number:05d}", root / f"case{number:05d}.nii.gz"
            image.touch()
            split = draw_by_hash(dataset.name, name, shares, 0)
            place = (dataset.region, dataset.role, split, len(cases) % shards)
            cases.append(Case(dataset.name, name, image, *place))
    write_manifest(cases, folder / "results" / "data" / "manifest.tsv")
    config = folder / "paper.yaml"
    config.write_text(yaml.safe_dump(tree))
    return config, len(cases)


def _run(command: list[str]) -> tuple[float, float, int]:
    """Return CPU seconds, peak megabytes and the number of jobs."""
    before, peak_mb = children_seconds(), 0.0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak_mb = memory_mb(process.pid) or peak_mb
            time.sleep(0.01)
        seconds = children_seconds() - before
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(text)
    total = next(line.split()[1] for line in text.splitlines() if line.startswith("total "))
    return seconds, peak_mb, int(total)


if __name__ == "__main__":
    main()
