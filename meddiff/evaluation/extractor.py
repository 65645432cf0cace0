"""The feature extractor of LPIPS, FID and MMD: MedicalNet's 3-D ResNet (section 4.1, Evaluation Metrics)."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from meddiff.config import EvaluationConfig
from meddiff.errors import UserError
from meddiff.evaluation.medicalnet import MedicalNet
from meddiff.files import read_json, sha256, temporary_beside, write_json

log = logging.getLogger(__name__)

# Published files of MedicalNet's 23-dataset networks: repository, file, sha256.
PUBLISHED = {
    "resnet10": (
        "TencentMedicalNet/MedicalNet-Resnet10",
        "resnet_10_23dataset.pth",
        "afa8055f3e47f4a18239495d92a7abc587902c69c31c743de2b2784653b72605",
    ),
    "resnet18": (
        "TencentMedicalNet/MedicalNet-Resnet18",
        "resnet_18_23dataset.pth",
        "61224f9317fcce873366deb3703183e92cc47325b726b69691b33536244e10f4",
    ),
    "resnet34": (
        "TencentMedicalNet/MedicalNet-Resnet34",
        "resnet_34_23dataset.pth",
        "3ea7188e396774e4ef95b66e5e90a78273bb33f6e58d3d717bf24f5f1aaeaa28",
    ),
    "resnet50": (
        "TencentMedicalNet/MedicalNet-Resnet50",
        "resnet_50_23dataset.pth",
        "ff48a62219073fb977fd3f4ddfb8dc1367f0ec156c8d6f6c37e205bd683a246e",
    ),
}
CONNECT_TIMEOUT_SECONDS = 10


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
        UserError: MedicalNet's weights are asked for and cannot be had.
    """
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    extractor = Extractor(config.network)
    made_with = f"random {config.network}, seed {seed}"
    if config.weights != "random":
        try:
            extractor.net.load_state_dict(_published_weights(config.network))
            made_with = f"MedicalNet {config.network}"
        except OSError as error:
            if config.weights == "medicalnet":
                raise UserError(
                    f"evaluation.weights: MedicalNet's {config.network} cannot be downloaded ({type(error).__name__}); "
                    "connect to the network once, or set evaluation.weights: random"
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
    """Return MedicalNet's state dict, downloaded into the cache of Hugging Face and checked.

    Raises:
        OSError: it cannot be downloaded, or the file is another one.
    """
    import httpx
    import huggingface_hub

    repository, file, checksum = PUBLISHED[network]
    try:
        # One quick question first: without a network the download itself would try for half a minute.
        if not (cached := huggingface_hub.try_to_load_from_cache(repository, file)):
            httpx.head(huggingface_hub.hf_hub_url(repository, file), timeout=CONNECT_TIMEOUT_SECONDS)
        path = Path(cached or huggingface_hub.hf_hub_download(repository, file))
    except (httpx.HTTPError, ValueError) as error:
        raise OSError(str(error)) from error
    if sha256(path) != checksum:
        raise OSError(f"{file} has another sha256 than the published one")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("module."): tensor for name, tensor in state.items() if "conv_seg" not in name}
