"""The stages of the pipeline: which part of the configuration each may read.

A rule's parameter is a file that is named by what its stage reads, so a changed value re-runs the stages that read it
and no others; the command line reads the configuration through `restrict`, so a stage cannot read anything else.
`version` is raised by hand when a stage's code changes its results.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from meddiff.config import Config
from meddiff.files import digest, write_text


@dataclass(frozen=True)
class Stage:
    sections: tuple[str, ...]
    version: int = 1


STAGES = {
    "index": Stage(("seed", "data"), version=6),
    "resample": Stage(("data",), version=3),
    "anatomy-weights": Stage(("anatomy",)),
    "anatomy": Stage(("data", "anatomy", "device")),
    "regions": Stage(("data", "regions"), version=3),
    "store": Stage(("data", "windows", "model"), version=5),
    "qc": Stage(("data", "windows")),
    "qc-page": Stage(("data", "anatomy"), version=2),
    "train-anatomy": Stage(("anatomy", "windows")),
    "extractor": Stage(("seed", "evaluation"), version=2),
    "pretrain": Stage(
        ("seed", "device", "model", "diffusion", "augmentation", "training", "models", "windows"), version=3
    ),
    "distill": Stage(("seed", "device", "model", "augmentation", "training", "distillation", "models"), version=2),
    "synthesize": Stage(("seed", "device", "sampling", "windows"), version=3),
    "low-dose": Stage(("seed", "data", "low_dose"), version=2),
    "red-cnn": Stage(("seed", "device", "red_cnn")),
    "filter": Stage(()),
    "denoise": Stage(("seed", "device", "denoising", "sampling"), version=2),
    "anomaly": Stage(("seed", "device", "anomaly", "sampling"), version=2),
    "supervised": Stage(("device", "nnunet"), version=2),
    "score-anomaly": Stage(("anomaly",), version=3),
    "finetune-lesions": Stage(("seed", "device", "training", "finetuning"), version=2),
    "finetune-super-resolution": Stage(("seed", "device", "training", "finetuning", "super_resolution"), version=2),
    "lesions": Stage(("seed", "device", "lesions", "sampling"), version=2),
    "judge-lesions": Stage(("device", "model", "lesions", "evaluation", "nnunet"), version=3),
    "augment-lesions": Stage(("seed", "device", "lesions", "sampling", "anomaly", "nnunet"), version=3),
    "thick-slices": Stage(("device", "anatomy", "super_resolution")),
    "super-resolve": Stage(("seed", "device", "super_resolution", "sampling"), version=2),
    "segment": Stage(("anatomy", "device")),
    "evaluate": Stage(("device", "anatomy", "evaluation"), version=3),
    "tables": Stage(("data", "anatomy", "models", "evaluation", "super_resolution", "seed"), version=2),
    "report": Stage(tuple(Config.model_fields)),
}
IGNORED = {"device"}  # where a stage runs is no reason to run it again


def restrict(config: Config, stage: str) -> Config:
    """Return the configuration with only the sections of one stage; reading another raises AttributeError."""
    restricted = config.model_copy()
    for name in set(type(config).model_fields) - set(STAGES[stage].sections):
        del vars(restricted)[name]
    return restricted


def params_of(config: Config, stage: str) -> str:
    """Return canonical JSON of what a stage reads and of its version: what decides whether a result is still valid."""
    tree = config.model_dump(mode="json", include=set(STAGES[stage].sections) - IGNORED)
    return json.dumps(tree | {"version": STAGES[stage].version}, sort_keys=True, separators=(",", ":"))


def write_stage_config(config: Config, stage: str, folder: Path, model: str | None = None) -> Path:
    """Write the sections that a stage reads to a file that is named by them, and return its path.

    Args:
        config: the whole configuration.
        stage: a name in `STAGES`.
        folder: where the file goes.
        model: keep only this one of `models`.
    """
    if model:
        config = config.model_copy(update={"models": (config.variant(model),)})
    path = folder / f"{stage}-{digest(params_of(config, stage))}.yaml"
    if not path.exists():
        tree = config.model_dump(mode="json", include=set(STAGES[stage].sections))
        write_text(yaml.safe_dump(tree, sort_keys=False), path)
    return path
