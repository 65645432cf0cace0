"""Small weights with which the unmodified TotalSegmentator runs offline, in the demo and in the tests.

They show the pipeline; they are no replacement for the official weights, and every table made with them says so.
`meddiff.demo.train_weights` makes them.
"""

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddiff.machine.files import read_json

if TYPE_CHECKING:
    import torch

STORED = Path(__file__).parent / "weights"
DATASET = "Dataset997_DemoAnatomy"


def install(weights_root: Path) -> None:
    """Write the stored weights as TotalSegmentator's `total` 6 mm model below `weights_root`, if not yet there."""
    import torch
    from safetensors.torch import load_file

    name = "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
    dataset = weights_root / "Dataset298_TotalSegmentator_total_6mm_1559subj"
    if dataset.exists():
        return
    temporary = weights_root / f".tmp-{os.getpid()}"
    fold = temporary / name / "fold_0"
    fold.mkdir(parents=True)
    plans, dataset_json = read_json(STORED / "plans.json"), read_json(STORED / "dataset.json")
    weights = {key: value.float() for key, value in load_file(str(STORED / "weights.safetensors")).items()}
    weights |= _aliases(weights)
    checkpoint: dict[str, Any] = {
        "network_weights": weights,
        "trainer_name": "nnUNetTrainer",
        "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": 0, "dataset_json": dataset_json},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    for source in ("plans.json", "dataset.json"):
        shutil.copy(STORED / source, temporary / name / source)
    try:
        os.rename(temporary, dataset)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        shutil.rmtree(temporary, ignore_errors=True)  # another job was first


def _aliases(weights: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Return the other names under which nnU-Net's network holds the same weights."""
    blocks = {".conv.": ".all_modules.0.", ".norm.": ".all_modules.1."}
    same = {key.replace(a, b): value for key, value in weights.items() for a, b in blocks.items() if a in key}
    return same | {"decoder." + k: v for k, v in (weights | same).items() if k.startswith("encoder.")}
