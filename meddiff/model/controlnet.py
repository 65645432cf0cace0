"""ControlNet (section 3.2, Eq. 2): a trained U-Net that stays as it is, and a copy of its encoder that adds to it.

The copy sees what the U-Net sees and a target condition besides. All that it adds goes through convolutions that start
at zero, so that before any training the controlled network is the U-Net.
"""

import torch
from torch import Tensor, nn

from meddiff.config import NetworkConfig
from meddiff.model.blocks import zero_initialised
from meddiff.model.unet import Encoder, UNet

TARGET_CHANNELS = 16  # Choice: of the target encoder's first layer, as the original's


class ControlNet(Encoder):
    """The trainable copy, the target encoder and the zero convolutions.

    Args:
        config: sizes of the U-Net.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        # Choice: the target lies on the image's own grid, so its encoder does not shrink it.
        self.target = nn.Sequential(
            nn.Conv3d(1, TARGET_CHANNELS, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(TARGET_CHANNELS, config.channels, 3, padding=1),
            nn.SiLU(),
            zero_initialised(nn.Conv3d(config.channels, config.channels, 3, padding=1)),
        )
        self.zero_skips = nn.ModuleList(_zero_convolution(width) for width in self.skip_widths)
        self.zero_middle = _zero_convolution(config.widths[-1])

    @classmethod
    def from_unet(cls, unet: UNet) -> "ControlNet":
        """Return a new ControlNet whose encoder is a copy of the U-Net's."""
        control = cls(unet.config)
        weights = unet.state_dict()
        own = control.state_dict()
        control.load_state_dict({name: weights.get(name, tensor) for name, tensor in own.items()})
        return control

    def encode_condition(
        self, anatomy_BZYX: Tensor, coordinates_B3ZYX: Tensor, target_BCZYX: Tensor | None = None
    ) -> Tensor:
        """Return the conditions' part of the first convolution, shape (B, channels, Z, Y, X).

        Args:
            anatomy_BZYX: label ids 0 to 118 (c_a).
            coordinates_B3ZYX: p_c of the patch's voxels.
            target_BCZYX: c_t, one channel: a lesion mask of 0 and 1, or an image in [-1, 1].

        Raises:
            ValueError: there is no target condition.
        """
        if target_BCZYX is None:
            raise ValueError("a controlled network needs a target condition")
        target = target_BCZYX.to(self.dtype, memory_format=torch.channels_last_3d)
        return super().encode_condition(anatomy_BZYX, coordinates_B3ZYX) + self.target(target)

    def forward(
        self, x_BCZYX: Tensor, t_B: Tensor, region_B: Tensor, condition_BCZYX: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return what is added to the U-Net's middle and to its skips; the arguments are those of `UNet.forward`."""
        encoded = self.encode(x_BCZYX, t_B, region_B, condition_BCZYX)
        skips = [convolve(skip) for convolve, skip in zip(self.zero_skips, encoded.skips, strict=True)]
        return self.zero_middle(encoded.h), skips


class ControlledUNet(nn.Module):
    """A U-Net and its ControlNet as one network, with the interface of `UNet` and a target condition.

    Args:
        unet: the network that is controlled.
        control: what controls it.
    """

    def __init__(self, unet: UNet, control: ControlNet) -> None:
        super().__init__()
        self.unet, self.control = unet, control

    @property
    def config(self) -> NetworkConfig:
        return self.unet.config

    def encode_condition(
        self, anatomy_BZYX: Tensor, coordinates_B3ZYX: Tensor, target_BCZYX: Tensor | None = None
    ) -> Tensor:
        """Return the encoded conditions of both networks, shape (B, 2 channels, Z, Y, X)."""
        own = self.unet.encode_condition(anatomy_BZYX, coordinates_B3ZYX)
        return torch.cat((own, self.control.encode_condition(anatomy_BZYX, coordinates_B3ZYX, target_BCZYX)), dim=1)

    def forward(self, x_BCZYX: Tensor, t_B: Tensor, region_B: Tensor, condition_BCZYX: Tensor) -> Tensor:
        """Return the estimate, shape (B, 1, Z, Y, X); the arguments are those of `UNet.forward`."""
        own, controls = condition_BCZYX.chunk(2, dim=1)
        middle, skips = self.control(x_BCZYX, t_B, region_B, controls)
        encoded = self.unet.encode(x_BCZYX, t_B, region_B, own)
        added = [skip + more for skip, more in zip(encoded.skips, skips, strict=True)]
        return self.unet.decode(encoded._replace(h=encoded.h + middle, skips=added))


def _zero_convolution(channels: int) -> nn.Module:
    return zero_initialised(nn.Conv3d(channels, channels, 1))
