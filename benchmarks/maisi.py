"""The networks of MAISI-v2, the peer in whole volumes: MONAI's classes at their published sizes, random weights."""

import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi

MAISI_STEPS = 30  # of rectified flow
LATENT_CHANNELS, DOWNSAMPLING, MASK_CHANNELS = 4, 4, 8
_SHARED = {
    "spatial_dims": 3,
    "in_channels": LATENT_CHANNELS,
    "num_channels": (64, 128, 256, 512),
    "attention_levels": (False, False, True, True),
    "num_head_channels": (0, 0, 32, 32),
    "num_res_blocks": 2,
    "use_flash_attention": torch.cuda.is_available(),  # refused elsewhere
    "num_class_embeds": 128,
    "resblock_updown": True,
    "include_fc": True,
}


class Maisi:
    """One volume of `size`^3 voxels: a step of U-Net and ControlNet, and the decoder, with autocast as it runs them."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._device = device
        self._unet = DiffusionModelUNetMaisi(out_channels=LATENT_CHANNELS, include_spacing_input=True, **_SHARED)  # type: ignore[arg-type]
        self._control = ControlNetMaisi(
            conditioning_embedding_in_channels=MASK_CHANNELS,
            conditioning_embedding_num_channels=(8, 32, 64),
            use_checkpointing=False,
            **_SHARED,  # type: ignore[arg-type]
        )
        self._decoder = AutoencoderKlMaisi(
            spatial_dims=3,
            in_channels=1,
            out_channels=1,
            latent_channels=LATENT_CHANNELS,
            num_channels=(64, 128, 256),
            num_res_blocks=(2, 2, 2),
            attention_levels=(False, False, False),
            num_splits=8 if size > 256 else 1,
            dim_split=1,
            norm_float16=device.type == "cuda",
        )
        for network in (self._unet, self._control, self._decoder):
            network.eval().to(device)
        self._latent = torch.randn(1, LATENT_CHANNELS, *(size // DOWNSAMPLING,) * 3, device=device)
        self._mask = torch.randn(1, MASK_CHANNELS, *(size,) * 3, device=device)
        self._t = torch.tensor([500], device=device)
        self._label = torch.ones(1, dtype=torch.int64, device=device)
        self._spacing = torch.full((1, 3), 100.0, device=device)

    @torch.inference_mode()
    def step(self) -> None:
        with torch.autocast(self._device.type, torch.float16 if self._device.type == "cuda" else torch.bfloat16):
            downs, middle = self._control(self._latent, self._t, controlnet_cond=self._mask, class_labels=self._label)
            self._unet(
                self._latent,
                self._t,
                class_labels=self._label,
                spacing_tensor=self._spacing,
                down_block_additional_residuals=downs,
                mid_block_additional_residual=middle,
            )

    def step_is_done(self) -> None:
        """Give back what only the steps need, as its own program does before it decodes."""
        del self._unet, self._control, self._mask

    @torch.inference_mode()
    def decode(self) -> None:
        with torch.autocast(self._device.type, torch.float16 if self._device.type == "cuda" else torch.bfloat16):
            self._decoder.decode_stage_2_outputs(self._latent)
