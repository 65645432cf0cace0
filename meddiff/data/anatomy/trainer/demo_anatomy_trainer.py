"""The nnU-Net trainer of the demo weights; nnU-Net finds it through `nnUNet_extTrainer`."""

import os

import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
    nnUNetTrainerNoMirroring,
)


class DemoAnatomyTrainer(nnUNetTrainerNoMirroring):
    """A short run; no mirroring, because left and right organs have names of their own."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net's own signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["MEDDIFF_ANATOMY_EPOCHS"])
        self.num_iterations_per_epoch = 50
        self.num_val_iterations_per_epoch = 1
        self.save_every = 2
        self.initial_lr = 3e-3

    def configure_optimizers(self):  # noqa: ANN201 - nnU-Net's own signature
        """Adam instead of SGD: with many classes and few steps SGD learns only the largest ones."""
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    @staticmethod
    def get_training_transforms(patch_size, rotation_for_DA, deep_supervision_scales, *_, **__):  # noqa: ANN001, ANN002, ANN003, ANN205
        """Rotation and scaling only: nnU-Net's changes of intensity need longer training than this."""
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
        outputs = DownsampleSegForDSTransform(ds_scales=deep_supervision_scales)
        return ComposeTransforms([spatial, RemoveLabelTansform(-1, 0), outputs])

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Skip nnU-Net's own validation: its mean over absent classes is not a number."""

    def train_step(self, batch: dict) -> dict:
        """One step as nnU-Net's, in bfloat16 also on a CPU, where that is nearly twice as fast."""
        if self.device.type != "cpu":
            return super().train_step(batch)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            output = self.network(batch["data"])
        loss = self.loss([scale.float() for scale in output], batch["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}
