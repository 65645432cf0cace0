"""The paper's workflow on a real SLURM of two nodes: its jobs sleep, one in fifty fails, Snakemake is killed once.

It starts the SLURM of tests/slurm, whose nodes are both this machine, so it needs root and what tests/slurm/install.sh
installs. Snakemake runs with profiles/slurm, but asks SLURM every two seconds and submits ten jobs a second.
`--quick` has fewer shards.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from dag import stub
from measure import arguments, children_seconds, hardware

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.slurm.cluster import ACCOUNT, Cluster  # noqa: E402
from tests.slurm.workflow import SNAKEMAKE  # noqa: E402

FEW_SHARDS = {"data_shards": 2, "sampling_shards": 1}
MOST_STARTS = 10
RESOURCES = ["mem_mb=8000", "runtime=60", f"slurm_account={ACCOUNT}"]


def main() -> None:
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory(prefix="slurm") as name, Cluster(Path(name), accounting=True) as cluster:
        command = workflow(Path(name) / "work", options.quick)
        log = Path(name) / "work" / "snakemake.log"
        began, before = time.monotonic(), children_seconds()
        kill(start(cluster, command, log), log)
        starts, code = 1, 1
        while code and starts < MOST_STARTS:
            starts, code = starts + 1, start(cluster, command, log).wait()
        print(hardware())
        print(f"{time.monotonic() - began:.0f} s, Snakemake started {starts} times, code {code} at the end")
        print(f"{children_seconds() - before:.0f} s of CPU for Snakemake where it was started")
        print(f"submitted again by itself: {log.read_text().count('Trying to restart job')}")
        print("\n".join(ended(cluster)))
        if code:
            sys.exit(log.read_text()[-4000:])


def workflow(folder: Path, quick: bool) -> list[str]:
    """Return the command that runs the workflow of sleeping jobs in a folder."""
    config, _ = stub(folder, 1)
    if quick:
        tree = yaml.safe_load(config.read_text())
        tree["machine"] |= FEW_SHARDS
        config.write_text(yaml.safe_dump(tree))
    rules = str(ROOT / "benchmarks" / "sleeping.smk")
    command = [*SNAKEMAKE, "all", "--snakefile", rules, "--directory", str(folder), "--configfile", str(config)]
    return [*command, "--default-resources", *RESOURCES]


def start(cluster: Cluster, command: list[str], log: Path) -> subprocess.Popen:
    with log.open("a") as file:
        return subprocess.Popen(command, env=cluster.environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)


def kill(process: subprocess.Popen, log: Path) -> None:
    """Kill Snakemake when the first twins are drawn; its jobs live on."""
    while process.poll() is None and not list(log.parent.glob("results/synthesize/*/shard-*.tsv")):
        time.sleep(1)
    process.kill()
    process.wait()


def ended(cluster: Cluster) -> list[str]:
    """Return the number of SLURM's jobs that ended in each state, and how long a job took in the mean."""
    lines = cluster.run("sacct", "--allocations", "--noheader", "--parsable2", "--format=state,elapsedraw")
    jobs = [line.split("|") for line in lines.splitlines()]
    counts = Counter(state.split()[0] for state, _ in jobs)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    return [f"SLURM's jobs: {told}", f"a job in the mean: {sum(float(job[1]) for job in jobs) / len(jobs):.1f} s"]


if __name__ == "__main__":
    main()
