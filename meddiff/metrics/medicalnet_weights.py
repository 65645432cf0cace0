"""The published weights of MedicalNet: where they are, and how they come here."""

from pathlib import Path

from meddiff.datasets import Remote
from meddiff.datasets.download import NoConnection, Patience, cache_dir, fetch
from meddiff.machine.files import sha256
from meddiff.machine.locks import locked_after_others

# The 23-dataset networks: repository, file, sha256.
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
PATIENCE = Patience(breaks=1, wait_seconds=1.0)


def provide(network: str, to: Path | None = None) -> Path:
    """Return the file with the weights of a network, checked by its sha256; it is downloaded unless it is here.

    Args:
        network: a name in `PUBLISHED`.
        to: the folder; none: `medicalnet` in the cache, where a file in the cache of Hugging Face is good, too.

    Raises:
        NoConnection: it is not here and cannot be downloaded.
        UserError: the file that came is another one, or there is no space.
    """
    import huggingface_hub
    from huggingface_hub.constants import HF_HUB_OFFLINE

    repository, name, checksum = PUBLISHED[network]
    folder = to or cache_dir() / "medicalnet"
    known = [folder / name]
    if to is None and isinstance(cached := huggingface_hub.try_to_load_from_cache(repository, name), str):
        known.append(Path(cached))
    for path in known:
        if path.exists() and sha256(path) == checksum:
            return path
    if HF_HUB_OFFLINE:
        raise NoConnection(f"{name} is not here, and HF_HUB_OFFLINE forbids to download it")
    with locked_after_others(folder / ".meddiff-weights.lock", f"the weights in {folder}"):
        remote = Remote(huggingface_hub.hf_hub_url(repository, name), f"sha256:{checksum}")
        return fetch(remote, folder, PATIENCE)
