"""MAP-NN, a supervised denoiser of Table 4, and the critic that it is trained against (Shan et al. 2019)."""

import copy
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.config import Window
from meddiff.model.slice_denoiser import SliceDenoiser

LAYERS = 4
LEAK = 0.2  # of the critic's ReLUs


class MapNN(SliceDenoiser):
    """One small module, through which an image passes `depth` times: the more often, the less noise is left.

    The module has four convolutions and four deconvolutions of 3 x 3 without padding and biases. Before its ReLU each
    of the first three deconvolutions is joined with the mirrored convolution, and a convolution of 1 x 1 leads back to
    `width` channels. The module adds to its input, within [0, 1].

    Args:
        window: HU that the network sees.
        width: channels [paper: 32].
        depth: passes [paper: 5].
    """

    kind = "mapnn"

    def __init__(self, window: Window, width: int = 32, depth: int = 5) -> None:
        super().__init__(window, width=width, depth=depth)
        self.depth = depth
        channels = [1] + [width] * LAYERS
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, 3, bias=False) for a, b in pairwise(channels))
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 3, bias=False) for a, b in reversed(list(pairwise(channels)))
        )
        self.joins = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for _ in range(LAYERS - 1))
        for parameter in self.parameters():
            nn.init.xavier_uniform_(parameter)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Return the denoised images, of the shape of the noisy ones, (B, 1, Y, X); sides are 9 at least."""
        for _ in range(self.depth):
            x_BCYX = (x_BCYX + self.residual(x_BCYX)).clamp(0, 1)
        return x_BCYX

    def residual(self, x_BCYX: Tensor) -> Tensor:
        """Return what one pass adds to the images."""
        h, shortcuts = x_BCYX, []
        for layer in self.encoder:
            h = F.relu(layer(h))
            shortcuts.append(h)
        shortcuts.pop()
        for layer, join in zip(self.decoder[:-1], self.joins, strict=True):
            h = F.relu(join(torch.cat((shortcuts.pop(), F.relu(layer(h))), dim=1)))
        return self.decoder[-1](h)

    def at_depth(self, depth: int) -> Self:
        """Return the network with another number of passes, and the same weights."""
        other = copy.copy(self)
        other.depth = depth
        return other


class Critic(nn.Module):
    """Tells how little an image looks denoised: six convolutions of 3 x 3, every second halving, and two full layers.

    Args:
        size_yx: of the images.
        width: channels of the first two layers [paper: 64]; the next two have twice, the last two four times as many.
    """

    def __init__(self, size_yx: tuple[int, int], width: int = 64) -> None:
        super().__init__()
        channels = [1, width, width, 2 * width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(before, after, 3, stride=1 + number % 2, padding=1), nn.LeakyReLU(LEAK)]
        height, length = (-(-n // 8) for n in size_yx)  # halved three times, rounded up
        full = [nn.Linear(channels[-1] * height * length, 16 * width), nn.LeakyReLU(LEAK), nn.Linear(16 * width, 1)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), *full)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Return a score of each image, (B, 1); high for those that look as the clean ones."""
        return self.layers(x_BCYX)
