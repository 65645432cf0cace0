"""The U-Net of Noise2Sim, the self-supervised denoiser of Table 4 (Niu et al. 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.config import Window
from meddiff.model.slice_denoiser import SliceDenoiser


class Noise2Sim(SliceDenoiser):
    """A U-Net of three levels with batch normalisation that adds to its input.

    Args:
        window: HU that the network sees.
        width: channels of the finest level [published code: 96]; each coarser level has twice as many.
    """

    kind = "noise2sim"

    def __init__(self, window: Window, width: int = 96) -> None:
        super().__init__(window, width=width)
        self.down = nn.ModuleList([_double(1, width), _double(width, 2 * width), _double(2 * width, 4 * width)])
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(n, n // 2, 2, stride=2) for n in (4 * width, 2 * width))
        self.up = nn.ModuleList([_double(4 * width, 2 * width), _double(2 * width, width)])
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Return the denoised images, of the shape of the noisy ones, (B, 1, Y, X); sides are 4 at least."""
        h, shortcuts = x_BCYX, []
        for number, block in enumerate(self.down):
            h = block(h if number == 0 else F.max_pool2d(h, 2))
            shortcuts.append(h)
        shortcuts.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            shortcut = shortcuts.pop()
            h = block(torch.cat((shortcut, _padded(enlarge(h), shortcut)), dim=1))
        return x_BCYX + self.last(h)


def _double(before: int, after: int) -> nn.Sequential:
    """Return two convolutions of 3 x 3, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _padded(h: Tensor, like: Tensor) -> Tensor:
    """Return the images with the row and the column that halving an odd side has cut off, as zeros."""
    return F.pad(h, (0, like.shape[3] - h.shape[3], 0, like.shape[2] - h.shape[2]))
