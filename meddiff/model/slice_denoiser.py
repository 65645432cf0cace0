"""What the trained denoisers of Table 4 share: they see single axial slices within one HU window."""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from meddiff.config import Window
from meddiff.machine.files import temporary_beside
from meddiff.volumes.hu import denormalise, normalise


class SliceDenoiser(nn.Module):
    """A network that denoises axial slices, whose values lie in [0, 1], the ends of `window`.

    Choice: the window is the one whose values count: the scoring window for Table 4, else that of the region.

    Args:
        window: HU that the network sees; values outside come back as its ends.
        sizes: of the network, arguments of its class by their names.
    """

    kind: ClassVar[str]  # the key of what its file says of it

    def __init__(self, window: Window, **sizes: int) -> None:
        super().__init__()
        self.window, self.sizes = window, sizes

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
        facts = {**self.sizes, "window": self.window.model_dump(), "identity": identity}
        # One value, because safetensors writes several in random order.
        metadata = {self.kind: json.dumps(facts, sort_keys=True)}
        with temporary_beside(path) as temporary:
            save_file(self.state_dict(), str(temporary), metadata)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Self:
        """Return the network that `save` wrote, in evaluation mode."""
        from safetensors.torch import load_file

        facts = cls.read_facts(path)
        sizes = {name: value for name, value in facts.items() if name not in ("window", "identity")}
        network = cls(Window(**facts["window"]), **sizes)
        network.load_state_dict(load_file(str(path)))
        return network.to(device).eval()

    @classmethod
    def read_facts(cls, path: Path) -> dict[str, Any]:
        """Return the sizes, the `window` and the `identity` that `save` wrote."""
        from safetensors import safe_open

        with safe_open(str(path), "pt") as file:
            return json.loads(file.metadata()[cls.kind])
