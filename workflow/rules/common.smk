"""
What all rules share: the configuration, the shards, the models and where results lie.

Nothing here needs the package, so that the rules can be read where only Snakemake is. A rule's parameter `reads` holds
the values that its stage reads, so a changed one re-runs that stage and what follows from it. The parameter `config` is
the file with the configuration, which each job checks as a whole. It is named by its content, so no second invocation
changes a file under a running job. Like every parameter that is a function of the resources, Snakemake takes it as no
reason to run a job again.
"""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path


def load(path):
    """Return the module in a file, whatever its name: Snakemake keeps copies of what comes from a repository."""
    # Snakemake's own kind of text could not be written into Python's cache of compiled files.
    path = Path(path)
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    loaded = importlib.util.module_from_spec(spec)
    loader.exec_module(loaded)
    return loaded


kernel_lock = load(workflow.source_path("../../meddiff/machine/kernel_lock.py"))
launcher = load(workflow.source_path("../../meddiff/machine/launcher.py"))
one_of_each_key = load(workflow.source_path("../../meddiff/config/one_of_each_key.py"))
settings = load(workflow.source_path("../settings.py"))

try:
    # Snakemake has read them, but takes the last of a key that stands twice.
    settings.check_keys(workflow.configfiles, one_of_each_key.OneOfEachKey)
    SETTINGS = settings.Settings(
        config,
        Path(workflow.source_path("../schemas/config.schema.yaml")).read_text(),
        Path(workflow.source_path("../schemas/package.yaml")).read_text(),
    )
    if workflow.is_main_process:
        settings.check_place(SETTINGS)
except ValueError as error:
    sys.exit(f"meddiff: {error}")

MACHINE = SETTINGS.tree["machine"]
PACKAGE = SETTINGS.package
PACKAGE_IS_HERE = importlib.util.find_spec("meddiff") is not None
OUT = SETTINGS.tree["output_dir"]
ENVIRONMENT = "../envs/meddiff.yaml"

SHARDS = [f"{i:03d}" for i in range(MACHINE["data_shards"])]
SAMPLING_SHARDS = [f"{i:03d}" for i in range(MACHINE["sampling_shards"])]
MODELS = SETTINGS.models
METHODS = [*MODELS, "real"]
LESION_DATASETS = [dataset["name"] for dataset in SETTINGS.datasets("lesion")]
PROVIDED = [
    str(Path(dataset["root"] or f"{OUT}/data/raw/{dataset['name']}") / "SOURCE.json")
    for dataset in SETTINGS.datasets("provided")
]
MEASURED_SLICES = (
    ["<results>/measured_slices/index.tsv"] if SETTINGS.datasets("thick") else []
)
TABLES = [f"<results>/tables/{each['name']}.csv" for each in PACKAGE["tables"]]
STORE = "<results>/data/store/index.tsv"

# On a cluster a training job is a chain of slices: it stops before its time limit with exit code 75 and is retried.
# What runs the jobs is not known yet when the rules are read, but a limit of jobs is for clusters only.
TRAINING_RUNTIME_MIN = 1380
ON_CLUSTER = workflow.remote_exec or workflow.resource_settings.nodes is not None
TRAINING_SLICE_MIN = int(0.95 * TRAINING_RUNTIME_MIN) if ON_CLUSTER else 525_600
# A job on a cluster is a Snakemake itself, which must not retry within its own time limit.
TRAINING_RETRIES = 100 if ON_CLUSTER and not workflow.remote_exec else 0

# Of a job that trains or samples, and of one that goes through scans.
NETWORK_THREADS, SCAN_THREADS = MACHINE["threads"], min(4, MACHINE["threads"])

# What computes on the CPU asks for no GPU, so that such jobs run beside one another.
ON_GPU = MACHINE["device"] != "cpu"
ONE_GPU, SAMPLING_GPUS = (1, MACHINE["gpus"]) if ON_GPU else (0, 0)
TRAINING_GPUS = launcher.resources(MACHINE["processes"], MACHINE["nodes"], ON_GPU)

# The programs of the environment that runs Snakemake come first, also when it is not activated; those of a conda
# environment or a container, which jobs enter later, come before them.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
)


pathvars:
    results=OUT,
    logs=f"{OUT}/logs",
    benchmarks=f"{OUT}/benchmarks",


onstart:
    # Where the package is beside Snakemake, it checks the configuration before a job is sent; elsewhere the first does.
    if PACKAGE_IS_HERE:
        check = [
            sys.executable,
            "-m",
            "meddiff",
            "config",
            configuration(None, None),
        ]
        if subprocess.run(check, stdout=subprocess.DEVNULL).returncode:
            sys.exit(2)
    # Snakemake's own lock names no holder and outlives a Snakemake that was killed; the profiles turn it off.
    if kernel_lock.try_hold(Path(OUT) / ".lock") is None:
        sys.exit(
            f"meddiff: {kernel_lock.in_use(Path(OUT) / '.lock', f'output_dir {OUT}')}"
        )


def stage_reads(stage, one=None):
    """Return what decides whether a stage's job must run again; with `one`, of models or denoisers that one alone."""
    return SETTINGS.reads(stage, one)


def configuration(wildcards, resources):
    """Return the file with the configuration as it was given."""
    return SETTINGS.write(Path(OUT) / "config")


def roots(wildcards):
    """
    Return the state of each dataset's root, so that a scan that is new, replaced or gone is a reason to index again.

    As inputs, the scans would be looked for one by one whenever the rules are read, each job of a cluster included, and
    the job could not be planned before there are any. A job that always ran would have all that follows it planned
    again each time, since only a checkpoint tells Snakemake that nothing has changed, and then it plans anew in the
    middle of a run. A parameter is asked for by the one Snakemake that plans, and costs a listing of each folder. Of a
    root that is away the last state counts: what has been prepared from it goes on without it. Only the package knows
    how a dataset lies in its root.
    """
    if not PACKAGE_IS_HERE:
        return []
    from meddiff.config import DatasetConfig
    from meddiff.datasets import resolve
    from meddiff.datasets.roots import state_of
    from meddiff.errors import UserError

    file = Path(OUT) / "data" / "manifest.roots.json"
    last = json.loads(file.read_text()) if file.exists() else {}
    try:
        entries = [
            resolve(DatasetConfig(**dataset), Path(OUT))
            for dataset in SETTINGS.tree["data"]["datasets"]
        ]
    except UserError as error:
        sys.exit(f"meddiff: {error}")
    mine = [dataset for dataset in entries if dataset.provider == "disk"]
    return [state_of(dataset) or last.get(dataset.name, "") for dataset in mine]


def options(name):
    """Return the parameter that hands the inputs of this name to a verb, with an option for each."""

    def words(wildcards, input):
        return [f"--{name}={path}" for path in getattr(input, name)]

    return words


def table(name, number, shows):
    """Return the files of a table, of which Snakemake's report shows the first."""
    shown = report(
        f"<results>/tables/{name}.csv",
        caption="../report/table.rst",
        category="Tables",
        labels={"table": number, "shows": shows},
    )
    return [shown, f"<results>/tables/{name}.md", f"<results>/tables/{name}.tex"]


def figure(name, number, shows):
    """Return the folder of a figure, of which Snakemake's report shows every picture."""
    return report(
        directory(f"<results>/figures/{name}"),
        patterns=["{case}.png"],
        caption="../report/figure.rst",
        category="Figures",
        labels={"figure": number, "shows": shows, "case": "{case}"},
    )


def start_training(wildcards, resources):
    """Return the words before the name of the package; a function of the resources is no reason to run again."""
    return launcher.launcher(MACHINE["processes"], MACHINE["nodes"])


wildcard_constraints:
    dataset=r"[A-Za-z0-9-]+",
    shard=r"\d+",
    model=r"[a-z0-9-]+",
    method=r"[a-z0-9-]+",
    origin="|".join(PACKAGE["origins"]),
    resolver="|".join(PACKAGE["super_resolvers"]),
    denoiser="|".join(PACKAGE["trained_denoisers"]),
