"""
What all rules share: the validated configuration, the shards, the models and where results lie.

A rule's parameter `config` is a file with the part of the configuration that its stage reads. The file is named by its
content, so a changed value re-runs that stage and what follows from it, and no second invocation changes a file under
a running job.
"""

import sys
from pathlib import Path

from meddiff.config import (
    DENOISERS,
    DENOISING_NETWORKS,
    FILTERS,
    ORIGINS,
    SUPER_RESOLVERS,
    parse_config,
)
from meddiff.data.datasets import resolve
from meddiff.errors import UserError
from meddiff.launcher import launcher, resources
from meddiff.locks import hold
from meddiff.stages import write_stage_config

try:
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

SHARDS = [f"{i:03d}" for i in range(CONFIG.data.shards)]
SAMPLING_SHARDS = [f"{i:03d}" for i in range(CONFIG.sampling.shards)]
MODELS = [variant.name for variant in CONFIG.models]
METHODS = [*MODELS, "real"]
LESION_DATASETS = [dataset.name for dataset in DATASETS if dataset.lesion]
STORE = expand(f"{OUT}/data/store/shard-{{shard}}.tsv", shard=SHARDS)

# On a cluster a training job is a chain of slices: it stops before its time limit with exit code 75 and is retried.
# What runs the jobs is not known yet when the rules are read, but a limit of jobs is for clusters only.
TRAINING_RUNTIME_MIN = 1380
ON_CLUSTER = workflow.remote_exec or workflow.resource_settings.nodes is not None
TRAINING_SLICE_MIN = int(0.95 * TRAINING_RUNTIME_MIN) if ON_CLUSTER else 525_600
# A job on a cluster is a Snakemake itself, which must not retry within its own time limit.
TRAINING_RETRIES = 100 if ON_CLUSTER and not workflow.remote_exec else 0
LAUNCHER = launcher(CONFIG.training.processes, CONFIG.training.nodes)
TRAINING_GPUS = resources(CONFIG.training.processes, CONFIG.training.nodes)

# The programs of the environment that runs Snakemake come first, also when that environment is not activated. A prefix
# replaces Snakemake's own, without which a job that fails would end with the exit code of `tee`.
shell.prefix(f"set -euo pipefail; PATH={Path(sys.executable).parent}:$PATH; ")


onstart:
    # Snakemake's own lock names no holder and outlives a Snakemake that was killed; the profiles turn it off.
    try:
        hold(CONFIG.output_dir / ".lock", f"output_dir {CONFIG.output_dir}")
    except UserError as error:
        sys.exit(f"meddiff: {error}")


def stage_config(stage, model=None):
    """Return the path of the file with what a stage reads; with `model`, only that one of the models."""
    return str(write_stage_config(CONFIG, stage, CONFIG.output_dir / "config", model))


wildcard_constraints:
    dataset=r"[A-Za-z0-9-]+",
    shard=r"\d+",
    model=r"[a-z0-9-]+",
    method=r"[a-z0-9-]+",
    origin="|".join(ORIGINS),
    resolver="|".join(SUPER_RESOLVERS),
