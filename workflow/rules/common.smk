"""
What all rules share: the validated configuration, the shards, the models and where results lie.

A rule's parameter `reads` holds the values that its stage reads, so a changed one re-runs that stage and what follows
from it. The parameter `config` is the file in which the job finds these and how to run. It is named by its content, so
no second invocation changes a file under a running job. Like every parameter that is a function of the resources,
Snakemake takes it as no reason to run a job again.
"""

import shlex
import sys
from pathlib import Path

from meddiff.config import (
    DENOISERS,
    DENOISING_NETWORKS,
    FILTERS,
    ORIGINS,
    SUPER_RESOLVERS,
    TRAINED_DENOISERS,
    parse_config,
    read_tree,
)
from meddiff.datasets import resolve
from meddiff.errors import UserError
from meddiff.machine import launcher as training
from meddiff.machine.locks import hold
from meddiff.config.stages import params_of, write_config, write_stage_config

try:
    for (
        file
    ) in (
        workflow.configfiles
    ):  # Snakemake reads them too, but takes the last of a key that stands twice
        read_tree(Path(file))
    CONFIG = parse_config(config, "configuration")
    DATASETS = [
        resolve(entry, CONFIG.output_dir / "data" / "raw")
        for entry in CONFIG.data.datasets
    ]
except UserError as error:
    sys.exit(f"meddiff: {error}")

OUT = str(CONFIG.output_dir)
LOGS = f"{OUT}/logs"
BENCHMARKS = f"{OUT}/benchmarks"
ENVIRONMENT = "../../envs/meddiff.yaml"

SHARDS = [f"{i:03d}" for i in range(CONFIG.machine.data_shards)]
SAMPLING_SHARDS = [f"{i:03d}" for i in range(CONFIG.machine.sampling_shards)]
MODELS = [variant.name for variant in CONFIG.models]
METHODS = [*MODELS, "real"]
LESION_DATASETS = [dataset.name for dataset in DATASETS if dataset.lesion]
MEASURED_SLICES = (
    [f"{OUT}/super-resolution/measured/index.tsv"]
    if any(dataset.thick for dataset in DATASETS)
    else []
)
STORE = expand(f"{OUT}/data/store/shard-{{shard}}.tsv", shard=SHARDS)

# On a cluster a training job is a chain of slices: it stops before its time limit with exit code 75 and is retried.
# What runs the jobs is not known yet when the rules are read, but a limit of jobs is for clusters only.
TRAINING_RUNTIME_MIN = 1380
ON_CLUSTER = workflow.remote_exec or workflow.resource_settings.nodes is not None
TRAINING_SLICE_MIN = int(0.95 * TRAINING_RUNTIME_MIN) if ON_CLUSTER else 525_600
# A job on a cluster is a Snakemake itself, which must not retry within its own time limit.
TRAINING_RETRIES = 100 if ON_CLUSTER and not workflow.remote_exec else 0
TRAINING_GPUS = training.resources(CONFIG.machine.processes, CONFIG.machine.nodes)

# The programs of the environment that runs Snakemake come first, also when that environment is not activated. A prefix
# replaces Snakemake's own, without which a job that fails would end with the exit code of `tee`.
PROGRAMS = shlex.quote(str(Path(sys.executable).parent))
for brace in "{}":  # Snakemake formats the prefix
    PROGRAMS = PROGRAMS.replace(brace, 2 * brace)
shell.prefix(f"set -euo pipefail; PATH={PROGRAMS}:$PATH; ")


onstart:
    # Snakemake's own lock names no holder and outlives a Snakemake that was killed; the profiles turn it off.
    try:
        hold(CONFIG.output_dir / ".lock", f"output_dir {CONFIG.output_dir}")
    except UserError as error:
        sys.exit(f"meddiff: {error}")


def stage_reads(stage, model=None):
    """Return what decides whether a stage's job must run again; with `model`, of the models that one alone."""
    return params_of(CONFIG.with_model(model) if model else CONFIG, stage)


def stage_config(stage):
    """Return the parameter with the file that a stage's job reads; of the models, the job's own where it has one."""

    def file(wildcards, resources):
        model = wildcards.get("model")
        config = CONFIG.with_model(model) if model in MODELS else CONFIG
        return str(write_stage_config(config, stage, CONFIG.output_dir / "config"))

    return file


def whole_config(wildcards, resources):
    """Return the file with the whole configuration."""
    return str(write_config(CONFIG, CONFIG.output_dir / "config"))


def launcher(wildcards, resources):
    """Return the words before the name of the package that start a training."""
    return training.launcher(CONFIG.machine.processes, CONFIG.machine.nodes)


wildcard_constraints:
    dataset=r"[A-Za-z0-9-]+",
    shard=r"\d+",
    model=r"[a-z0-9-]+",
    method=r"[a-z0-9-]+",
    origin="|".join(ORIGINS),
    resolver="|".join(SUPER_RESOLVERS),
    denoiser="|".join(TRAINED_DENOISERS),
