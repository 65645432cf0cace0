"""The stages of the pipeline: which keys of the configuration each may read.

A stage has the name of its rule and of its verb, `meddiff stage NAME`. It names its keys, such as `data.spacing_mm`, or
`windows` for a whole section. Their values decide whether what it made is still valid, so a changed value re-runs the
stages that read it and no others. A verb gets a configuration that has nothing else, so a stage cannot read what it
does not name; but for `machine`, which all may read, because it changes no result. `version` is raised by hand when a
stage's code changes its results.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddiff.config import Config, load_config

MACHINE = "machine"


@dataclass(frozen=True)
class Stage:
    """What a stage reads.

    Args:
        reads: keys that decide what comes out of a case.
        selects: keys that decide which cases a job works on, and not what comes out of one: when they change the job
            runs again, and skips the cases that are done.
        version: of the code.
    """

    reads: tuple[str, ...] = ()
    selects: tuple[str, ...] = ()
    version: int = 1

    @property
    def keys(self) -> tuple[str, ...]:
        return self.reads + self.selects


def _keys(section: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for name in names)


SEGMENTER = ("anatomy.weights", "anatomy.resolution")
# Of one estimate for a whole volume, without a solver.
ESTIMATE = _keys("sampling", "windows", "overlap", "skip_air", "clip_x0", "bfloat16", "int8")
# Of a training that takes its number of steps and its learning rate from elsewhere.
STEP = _keys("training", "batch_size", "accumulation", "gradient_clip_norm", "spike_factor", "bfloat16")
FINETUNING = (
    "seed",
    *STEP,
    "training.learning_rate_decay",
    *_keys("finetuning", "steps", "learning_rate", "warmup_steps", "ema_decay", "start_from"),
)
TEST_LESIONS = _keys("lesions", "patches_per_case", "min_ml")
ANOMALY_SCORES = _keys("anomaly", "lung_timesteps", "liver_timesteps", "closing_mm")
SCORES = _keys("evaluation", "feature_vox", "tiles", "ms_ssim_scales")
# The line below a table that says what it was made with.
SCANS = ("data.spacing_mm", "anatomy.weights")
MADE_WITH = (*SCANS, *_keys("evaluation", "tiles", "ms_ssim_scales"))

STAGES = {
    "index": Stage(
        ("seed", *_keys("data", "datasets", "split_by", "split", "downstream_split")),
        selects=("machine.data_shards",),
        version=8,
    ),
    "resample": Stage(_keys("data", "spacing_mm", "min_extent_mm"), selects=("data.allow_missing_slices",), version=3),
    "anatomy_weights": Stage(SEGMENTER),
    "anatomy": Stage((*SEGMENTER, "anatomy.body_threshold_hu")),
    "regions": Stage(("data.spacing_mm", "regions"), version=3),
    "store": Stage(("data.spacing_mm", "windows", "model.patch_vox"), version=7),
    "qc": Stage(("data.spacing_mm", "windows")),
    "qc_page": Stage(SCANS, version=2),
    "cohort": Stage(),
    "train_anatomy": Stage((*_keys("anatomy", "demo_epochs", "demo_phantoms"), "windows")),
    "extractor": Stage(("seed", *_keys("evaluation", "network", "weights")), version=2),
    "pretrain": Stage(("seed", "model", "diffusion", "augmentation", "training", "models", "windows"), version=5),
    "distill": Stage(
        ("seed", "model.patch_vox", "augmentation", *STEP, "training.ema_decay", "distillation", "models"), version=4
    ),
    "synthesize": Stage(("seed", "sampling"), selects=("machine.sampling_shards",), version=5),
    "low_dose": Stage(
        (
            "seed",
            "data.spacing_mm",
            *SEGMENTER,
            "anatomy.body_threshold_hu",
            *_keys("low_dose", "dose", "photons", "electronic_noise"),
        ),
        selects=("low_dose.scans",),
        version=4,
    ),
    "train_denoiser": Stage(("seed", "red_cnn", "map_nn", "noise2sim"), version=3),
    "filter_pairs": Stage(version=3),
    "denoise_pairs": Stage(
        (
            "seed",
            "regions",
            *ESTIMATE,
            *_keys("denoising", "reverse_steps", "diffpir_steps", "diffpir_lambda", "diffpir_zeta"),
        ),
        version=5,
    ),
    "anomaly_maps": Stage(("seed", *ESTIMATE, "anomaly"), version=4),
    "supervised": Stage(("nnunet",), version=2),
    "score_anomaly": Stage(ANOMALY_SCORES, version=3),
    "finetune_lesions": Stage((*FINETUNING, "finetuning.levels", "augmentation"), version=4),
    "finetune_super_resolution": Stage((*FINETUNING, "super_resolution.factor"), version=4),
    "draw_lesions": Stage(
        ("seed", "sampling", *_keys("lesions", "inpainting_steps", "jump_length", "resampling", "margin_mm")),
        selects=TEST_LESIONS,
        version=3,
    ),
    "judge_lesions": Stage(("model.patch_vox", *TEST_LESIONS, *SCORES, "nnunet"), version=3),
    "augment_lesions": Stage(
        ("seed", "sampling", "lesions.augmentation_diameter_mm", "anomaly.closing_mm", "nnunet"),
        selects=("lesions.augmentation_copies",),
        version=6,
    ),
    "measured_slices": Stage(("super_resolution.factor",)),
    "thick_slices": Stage(
        (*SEGMENTER, "anatomy.body_threshold_hu", "super_resolution.factor"), selects=("super_resolution.scans",)
    ),
    "super_resolve": Stage(
        (
            "seed",
            "sampling",
            *_keys(
                "super_resolution", "factor", "sigma_n", "diffpir_lambda", "diffpir_zeta", "steps", "keep_slice_means"
            ),
        ),
        version=3,
    ),
    "segment": Stage(SEGMENTER, version=3),
    "evaluate": Stage(("anatomy.body_threshold_hu", *SCORES), selects=("machine.sampling_shards",), version=3),
    "gather_scores": Stage(),
    "tables": Stage(
        (*MADE_WITH, "data.datasets", "models", "super_resolution.factor", "evaluation.bootstrap_draws"), version=3
    ),
    "twins": Stage(),
    "report": Stage((*MADE_WITH, "seed", "models", "model.patch_vox", *TEST_LESIONS, *ANOMALY_SCORES)),
}


def restrict(config: Config, stage: str) -> Config:
    """Return the configuration with only what one stage may read; reading anything else raises AttributeError."""
    return _restricted(config, _as_tree([*STAGES[stage].keys, MACHINE]))


def settings_of(config: Config, stage: str) -> str:
    """Return canonical JSON of what decides a stage's result for a case, with the stage's version."""
    return _canonical(config, stage, STAGES[stage].reads)


def params_of(config: Config, stage: str) -> str:
    """Return canonical JSON of what decides whether a stage's job must run again, with the stage's version."""
    return _canonical(config, stage, STAGES[stage].keys)


def load_stage_config(path: Path, stage: str) -> Config:
    """Return what a stage may read of a configuration file.

    Raises:
        UserError: it is not a configuration.
    """
    return restrict(load_config(path), stage)


def _canonical(config: Config, stage: str, keys: Iterable[str]) -> str:
    return json.dumps(_dump(config, keys) | {"version": STAGES[stage].version}, sort_keys=True, separators=(",", ":"))


def _dump(config: Config, keys: Iterable[str]) -> dict[str, Any]:
    return config.model_dump(mode="json", include=_as_tree(keys))


def _as_tree(keys: Iterable[str]) -> dict[str, Any]:
    """Return `{"data": {"spacing_mm": True}, "windows": True}` for `data.spacing_mm` and `windows`."""
    tree: dict[str, Any] = {}
    for key in keys:
        section, _, name = key.partition(".")
        if not name:
            tree[section] = True
        elif tree.setdefault(section, {}) is not True:
            tree[section][name] = True
    return tree


def _restricted(section: Any, tree: dict[str, Any]) -> Any:
    copy = section.model_copy()
    for name in type(section).model_fields:
        wanted = tree.get(name)
        if wanted is None:
            vars(copy).pop(name, None)
        elif wanted is not True:
            vars(copy)[name] = _restricted(getattr(section, name), wanted)
    return copy
