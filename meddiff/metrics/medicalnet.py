"""MedicalNet's 3-D ResNet as it was published and trained (Chen et al. 2019, Med3D), without a segmentation head.

After layer 2 nothing is strided any more: layers 3 and 4 are dilated by 2 and 4, so that the features of a volume are
an eighth of its size. Parameters have the names of the published files, which fit any strides: nothing but this
module says what the weights mean.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Shortcut = Literal["A", "B"]
WIDTHS, STRIDES, DILATIONS = (64, 128, 256, 512), (1, 2, 1, 1), (1, 1, 2, 4)
REDUCTION = 8


@dataclass(frozen=True)
class Architecture:
    """Blocks per layer, whether they are bottlenecks, and what joins layers of different width.

    `shortcut` is that of the published files: A subsamples and adds channels of zeros, B is a convolution.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    shortcut: Shortcut


ARCHITECTURES = {
    "resnet10": Architecture((1, 1, 1, 1), bottleneck=False, shortcut="B"),
    "resnet18": Architecture((2, 2, 2, 2), bottleneck=False, shortcut="A"),
    "resnet34": Architecture((3, 4, 6, 3), bottleneck=False, shortcut="A"),
    "resnet50": Architecture((3, 4, 6, 3), bottleneck=True, shortcut="B"),
}


class MedicalNet(nn.Module):
    """Volumes (B, 1, Z, Y, X) to feature maps (B, C, Z/8, Y/8, X/8); C is 512, with bottlenecks 2,048.

    Without the published weights it is initialised as its authors did (He et al. 2015, by the fan-out).
    """

    def __init__(self, network: str) -> None:
        super().__init__()
        architecture = ARCHITECTURES[network]
        self.conv1 = nn.Conv3d(1, WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(WIDTHS[0])
        expansion = 4 if architecture.bottleneck else 1
        channels = (WIDTHS[0], *(expansion * width for width in WIDTHS))
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _layer(channels[i], WIDTHS[i], STRIDES[i], DILATIONS[i], architecture.blocks[i], architecture)
            for i in range(4)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        h = F.max_pool3d(F.relu(self.bn1(self.conv1(x_BCZYX))), 3, stride=2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(h))))


class Block(nn.Module):
    """A residual block: two 3^3 convolutions, or a bottleneck of 1^3, 3^3 and 1^3, and the shortcut around them."""

    def __init__(self, channels: int, width: int, stride: int, dilation: int, architecture: Architecture) -> None:
        super().__init__()
        self.channels = 4 * width if architecture.bottleneck else width
        self.stride = stride
        if architecture.bottleneck:
            self.conv1 = nn.Conv3d(channels, width, 1, bias=False)
            self.conv2 = _conv3(width, width, stride, dilation)
            self.conv3 = nn.Conv3d(width, self.channels, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(self.channels)
        else:
            self.conv1 = _conv3(channels, width, stride, dilation)
            self.conv2 = _conv3(width, width, 1, dilation)
            self.conv3 = self.bn3 = None
        self.bn1, self.bn2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        changes = stride != 1 or channels != self.channels
        self.downsample = None
        if changes and architecture.shortcut == "B":
            convolution = nn.Conv3d(channels, self.channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm3d(self.channels))

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.conv3 is not None and self.bn3 is not None:
            h = self.bn3(self.conv3(F.relu(h)))
        return F.relu(h + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            return self.downsample(x)
        kept = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, 0, 0, 0, self.channels - x.shape[1]))


def _layer(
    channels: int, width: int, stride: int, dilation: int, count: int, architecture: Architecture
) -> nn.Sequential:
    first = Block(channels, width, stride, dilation, architecture)
    return nn.Sequential(first, *(Block(first.channels, width, 1, dilation, architecture) for _ in range(count - 1)))


def _conv3(channels: int, width: int, stride: int, dilation: int) -> nn.Conv3d:
    return nn.Conv3d(channels, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
