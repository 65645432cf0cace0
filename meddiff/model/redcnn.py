"""RED-CNN, the supervised denoiser of Table 4 (Chen et al. 2017)."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meddiff.config import Window
from meddiff.machine.files import temporary_beside
from meddiff.volumes.hu import denormalise, normalise

LAYERS = 5
KERNEL = 5
METADATA = "redcnn"


class RedCNN(nn.Module):
    """Five convolutions and five deconvolutions of 5 x 5 without padding, with three shortcuts (Chen et al. 2017).

    The shortcuts lead from the input, the second and the fourth convolution to the mirrored deconvolutions, before
    their ReLU. Images lie in [0, 1], the ends of `window`, and the last ReLU keeps the result above 0.
    Choice: the window is the one whose values count: the scoring window for Table 4, else that of the region.

    Args:
        window: HU that the network sees; values outside come back as its ends.
        width: channels [paper: 96].
    """

    def __init__(self, window: Window, width: int = 96) -> None:
        super().__init__()
        self.window, self.width = window, width
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

    def scale(self, hu: np.ndarray) -> Tensor:
        """Return HU as the network sees them: float32 in [0, 1]."""
        return torch.from_numpy((normalise(hu, self.window) + 1) / 2)

    @torch.inference_mode()
    def denoise(self, hu_zyx: np.ndarray) -> np.ndarray:
        """Return a CT denoised slice by slice, int16 HU within the window."""
        device = next(self.parameters()).device
        slices = [self(self.scale(hu_yx)[None, None].to(device))[0, 0].cpu().numpy() for hu_yx in hu_zyx]
        return denormalise(2 * np.stack(slices) - 1, self.window)

    def save(self, path: Path, identity: str) -> None:
        """Write the weights as safetensors, with all that `load` needs and the `identity` of their training."""
        from safetensors.torch import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"width": self.width, "window": self.window.model_dump(), "identity": identity}
        # One value, because safetensors writes several in random order.
        metadata = {METADATA: json.dumps(facts, sort_keys=True)}
        with temporary_beside(path) as temporary:
            save_file(self.state_dict(), str(temporary), metadata)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "RedCNN":
        """Return the network that `save` wrote, in evaluation mode."""
        from safetensors.torch import load_file

        facts = read_facts(path)
        network = cls(Window(**facts["window"]), facts["width"])
        network.load_state_dict(load_file(str(path)))
        return network.to(device).eval()


def read_facts(path: Path) -> dict[str, Any]:
    """Return `width`, `window` and `identity` as `RedCNN.save` wrote them."""
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        return json.loads(file.metadata()[METADATA])
