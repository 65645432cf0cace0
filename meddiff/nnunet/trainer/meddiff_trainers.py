"""Trainers that differ from nnU-Net's own; nnU-Net finds them through `nnUNet_extTrainer`.

What differs between experiments comes in environment variables, since nnU-Net creates the trainer itself:
`MEDDIFF_NNUNET_EPOCHS`, `MEDDIFF_NNUNET_ITERATIONS` of each epoch, and `MEDDIFF_NNUNET_MIRROR` (0 or 1).
"""

import os
import random

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.configuration import default_num_processes
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from meddiff.machine.device import autocast


class LengthTrainer(nnUNetTrainer):
    """nnU-Net's trainer with another number of epochs and iterations."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's own signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["MEDDIFF_NNUNET_EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["MEDDIFF_NNUNET_ITERATIONS"])


class ShortTrainer(LengthTrainer):
    """A run of minutes."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's own signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        if device.type == "cpu":
            torch.set_num_threads(default_num_processes)  # of `nnUNet_def_n_proc`; nnU-Net takes all CPUs there are
        self.num_val_iterations_per_epoch = 1
        self.save_every = 2
        self.initial_lr = 3e-3
        _seed(0)

    def on_train_epoch_start(self) -> None:
        """Draw samples by the epoch alone: numbers repeat, also those of a run that was stopped."""
        super().on_train_epoch_start()
        _seed(1 + self.current_epoch)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):  # noqa: ANN201 - nnU-Net's own name
        """Mirror only where left and right have no names of their own, in training and in prediction."""
        *others, mirror_axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if os.environ["MEDDIFF_NNUNET_MIRROR"] == "1":
            return *others, mirror_axes
        self.inference_allowed_mirroring_axes = None
        return *others, None

    def configure_optimizers(self):  # noqa: ANN201 - nnU-Net's own signature
        """Adam instead of SGD: with few steps SGD learns only the largest classes."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    @staticmethod
    def get_training_transforms(patch_size, rotation_for_DA, deep_supervision_scales, mirror_axes, *_, **__):  # noqa: ANN001, ANN002, ANN003, ANN205
        """Rotation, scaling and mirroring: nnU-Net's changes of intensity need longer training than this."""
        spatial = SpatialTransform(
            patch_size,
            patch_center_dist_from_border=0,
            random_crop=False,
            p_rotation=0.5,
            rotation=(-0.2, 0.2),
            p_scaling=0.5,
            scaling=(0.8, 1.25),
            p_synchronize_scaling_across_axes=1,
        )
        mirroring = [MirrorTransform(allowed_axes=mirror_axes)] if mirror_axes else []
        outputs = DownsampleSegForDSTransform(ds_scales=deep_supervision_scales)
        return ComposeTransforms([spatial, *mirroring, RemoveLabelTansform(-1, 0), outputs])

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Skip nnU-Net's own validation: its mean over absent classes is not a number."""

    def train_step(self, batch: dict) -> dict:
        """One step as nnU-Net's, in bfloat16 also on a CPU that is made for it: nearly twice as fast."""
        if self.device.type != "cpu":
            return super().train_step(batch)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, bfloat16=True):
            output = self.network(batch["data"])
        loss = self.loss([scale.float() for scale in output], batch["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what nnU-Net draws with
    torch.manual_seed(seed)
