"""RED-CNN, a supervised denoiser of Table 4 (Chen et al. 2017)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.config import Window
from meddiff.model.slice_denoiser import SliceDenoiser

LAYERS = 5
KERNEL = 5


class RedCNN(SliceDenoiser):
    """Five convolutions and five deconvolutions of 5 x 5 without padding, with three shortcuts (Chen et al. 2017).

    The shortcuts lead from the input, the second and the fourth convolution to the mirrored deconvolutions, before
    their ReLU. The last ReLU keeps the result above 0.

    Args:
        window: HU that the network sees.
        width: channels [paper: 96].
    """

    kind = "redcnn"

    def __init__(self, window: Window, width: int = 96) -> None:
        super().__init__(window, width=width)
        channels = [1] + [width] * LAYERS
        pairs = list(pairwise(channels))
        self.encoder = nn.ModuleList(nn.Conv2d(before, after, KERNEL) for before, after in pairs)
        self.decoder = nn.ModuleList(nn.ConvTranspose2d(after, before, KERNEL) for before, after in reversed(pairs))

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Return the denoised images, of the shape of the noisy ones, (B, 1, Y, X); sides are 21 at least."""
        h, shortcuts = x_BCYX, []
        for number, layer in enumerate(self.encoder):
            if number % 2 == 0:
                shortcuts.append(h)
            h = F.relu(layer(h))
        for number, layer in enumerate(self.decoder):
            h = layer(h)
            h = F.relu(h + shortcuts.pop() if number % 2 == 0 else h)
        return h
