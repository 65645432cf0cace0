"""Which rules run again after which change, as real dry runs over a finished output folder tell.

The folder is finished in name only: its files say nothing, and `--touch` lets Snakemake remember that this
configuration made them.
"""

import re
from pathlib import Path

import pytest
import yaml

from meddiff.config import MachineConfig
from tests.phantom_run import ROOT, snakemake

SAMPLINGS = {"synthesize", "draw_lesions", "augment_lesions", "super_resolve"}
ESTIMATES = SAMPLINGS | {"denoise_pairs", "anomaly_maps"}

# Each key of `machine` with another value than it has.
MACHINE = {
    "device": "cpu",
    "threads": 3,
    "processes": 2,
    "nodes": 2,
    "workers": 1,
    "activation_checkpointing": True,
    "checkpoint_minutes": 5,
    "keep_checkpoints": 5,
    "status_seconds": 30,
    "validate_every": 7,
    "validation_patches": 3,
    "sample_every": 9,
    "gpus": 2,
    "windows_per_batch": 3,
    "memory_gb": 4,
    "gpu_memory_gb": 4,
    "cuda_graphs": False,
    "cache_conditions": False,
    "compile": True,
    "save_every_steps": 3,
}
# What changes -> the rules that run again first; whatever is made from their outputs follows.
CHANGES = {
    "data.datasets=[{name: phantom-lesions}, {name: own, root: /elsewhere, region: chest}]": {"index"},
    "data.split=[0.8, 0.1, 0.1]": {"index"},
    "data.spacing_mm=5.0": {"resample"},
    "anatomy.demo_epochs=9": set(),
    "model.channels=12": {"pretrain"},
    "model.patch_vox=24": {"store"},
    "training.learning_rate=0.5": {"pretrain"},
    "training.spike_factor=20": {"pretrain"},
    "finetuning.steps=11": {"finetune_lesions", "finetune_super_resolution"},
    "sampling.steps=4": SAMPLINGS,
    "sampling.overlap=0.5": ESTIMATES,
    "denoising.method=reverse": set(),
    "denoising.diffpir_steps=4": {"denoise_pairs"},
    "super_resolution.steps=4": {"super_resolve"},
    "super_resolution.scans=1": {"thick_slices"},
    "map_nn.steps=6": {"train_denoiser"},
    "lesions.resampling=3": {"draw_lesions"},
    "evaluation.feature_vox=16": {"evaluate", "judge_lesions"},
    "evaluation.bootstrap_draws=300": {"tables"},
    "distillation.training_steps=9": set(),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The configuration of an output folder in which all is done."""
    folder = tmp_path_factory.mktemp("finished")
    tree = yaml.safe_load((ROOT / "config" / "phantom.yaml").read_text()) | {"output_dir": str(folder / "results")}
    tree["training"] |= {"batch_size": 1, "accumulation": 2}  # for two processes
    tree["data"]["datasets"] = [{"name": "phantom-lesions"}, {"name": "own", "root": "/here", "region": "chest"}]
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    summary = snakemake("--summary", "all", "--configfile", file).stdout
    outputs = [Path(line.split("\t")[0]) for line in summary.splitlines()[1:]]
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if path.parent.name == "figures" else path.touch()
    snakemake("--touch", "--forceall", "--cores", 1, "all", "--configfile", file)
    return tree


def plan(finished, folder, section, values):
    """Return Snakemake's reasons for the jobs that it would run with other values, and the rules that have each."""
    tree = finished | {section: finished.get(section, {}) | values}
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump(tree))
    told = snakemake("-n", "--quiet", "reason", "all", "--configfile", file).stdout
    found = re.findall(r"^    (\w.*):\n        (.*)$", told, re.MULTILINE)
    assert found or "Nothing to be done" in told, told
    return {reason: set(rules.split(", ")) for reason, rules in found}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_runs_what_reads_it_again_and_nothing_else(finished, tmp_path, change):
    key, value = change.split("=", 1)
    section, name = key.split(".")
    reasons = plan(finished, tmp_path, section, {name: yaml.safe_load(value)})
    follows = reasons.pop("input files updated by another job", set())
    assert set().union(*reasons.values()) == CHANGES[change], reasons
    assert bool(follows) == bool(CHANGES[change])


def test_how_and_where_jobs_run_is_no_reason_to_run_them_again(finished, tmp_path):
    assert set(MachineConfig.model_fields) == {*MACHINE, "data_shards", "sampling_shards"}
    given = MachineConfig(**finished["machine"])
    assert all(getattr(given, name) != value for name, value in MACHINE.items())
    assert plan(finished, tmp_path, "machine", MACHINE) == {}
