"""The feature extractor of LPIPS, FID and MMD: MedicalNet's 3-D ResNet (section 4.1, Evaluation Metrics)."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from meddiff.config import EvaluationConfig
from meddiff.datasets.download import NoConnection
from meddiff.errors import UserError
from meddiff.machine.files import read_json, temporary_beside, write_json
from meddiff.metrics import medicalnet_weights
from meddiff.metrics.medicalnet import MedicalNet

log = logging.getLogger(__name__)


class Extractor(nn.Module):
    """MedicalNet: volumes (B, 1, Z, Y, X) to feature maps (B, C, z, y, x), which are an eighth of their size."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self.net = MedicalNet(network)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        return self.net(x_BCZYX)

    def features(self, x_BCZYX: Tensor) -> Tensor:
        """Return one vector per volume, (B, C): the mean of the last feature map."""
        return self(x_BCZYX).mean((2, 3, 4))


def prepare(config: EvaluationConfig, seed: int, weights: Path, source: Path) -> None:
    """Write the extractor's weights as safetensors, and beside them what they are.

    Raises:
        UserError: MedicalNet's weights are asked for and cannot be had, or another file came in their place.
    """
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    extractor = Extractor(config.network)
    made_with = f"random {config.network}, seed {seed}"
    if config.weights != "random":
        try:
            extractor.net.load_state_dict(_published_weights(config.network))
            made_with = f"MedicalNet {config.network}"
        except NoConnection as error:
            if config.weights == "medicalnet":
                raise UserError(
                    f"evaluation.weights: MedicalNet's {config.network} is not here, and there is no network; "
                    "where there is one run `meddiff weights --to DIR` and set MEDDIFF_CACHE=DIR here"
                ) from error
            log.warning("MedicalNet's weights cannot be downloaded; using random ones, and the tables will say so")
    weights.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(weights) as temporary:
        save_file(extractor.state_dict(), str(temporary))
    write_json({"network": config.network, "made_with": made_with}, source)


def load(weights: Path, source: Path, device: torch.device) -> Extractor:
    """Return the extractor that `prepare` wrote, in evaluation mode."""
    from safetensors.torch import load_file

    extractor = Extractor(read_json(source)["network"])
    extractor.load_state_dict(load_file(str(weights)))
    return extractor.to(device).eval()


def _published_weights(network: str) -> dict[str, Tensor]:
    state = torch.load(medicalnet_weights.provide(network), map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("module."): tensor for name, tensor in state.items() if "conv_seg" not in name}
