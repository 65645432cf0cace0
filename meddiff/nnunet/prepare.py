"""nnU-Net's planning and preprocessing in one process, which imports it once; a small network joins the plan there."""

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

from meddiff.machine.files import read_json, write_json

PLANNED, SMALL = "3d_fullres", "3d_small"  # configurations of the plan


def prepare(dataset_id: int, processes: int, small: dict[str, Any] | None) -> None:
    """Look at the raw data of a data set, plan and preprocess.

    Args:
        dataset_id: nnU-Net's number of it; its folders are in nnU-Net's variables of the environment.
        processes: that read and resample.
        small: the fields of a `SmallNetwork`, which becomes the plan's configuration 3d_small.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api as nnunet
    from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

    nnunet.extract_fingerprints([dataset_id], num_processes=processes, clean=False)
    plans = nnunet.plan_experiments([dataset_id])
    if small:
        folder = Path(os.environ["nnUNet_preprocessed"]) / convert_id_to_dataset_name(dataset_id)
        add_small(folder / f"{plans}.json", **small)
    nnunet.preprocess([dataset_id], configurations=[SMALL if small else PLANNED], num_processes=[processes])


def add_small(plans_file: Path, patch_vox: int, batch_size: int, spacing_mm: float | None) -> None:
    """Add a network of 4 stages on small cubic patches to a plan; the arguments are those of `SmallNetwork`."""
    plans = read_json(plans_file)
    architecture = copy.deepcopy(plans["configurations"][PLANNED]["architecture"])
    stages = 4
    architecture["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": [16, 32, 64, 128],
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    configuration: dict[str, Any] = {
        "inherits_from": PLANNED,
        "data_identifier": "small",
        "patch_size": [patch_vox] * 3,
        "batch_size": batch_size,
        "architecture": architecture,
    }
    if spacing_mm:
        configuration["spacing"] = [spacing_mm] * 3
    plans["configurations"][SMALL] = configuration
    write_json(plans, plans_file)


if __name__ == "__main__":
    number, processes, small = map(json.loads, sys.argv[1:])
    prepare(number, processes, small)
