"""What this installation has and lacks, and how to mend that."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

from meddiff import __version__
from meddiff.config import AnatomyConfig
from meddiff.errors import UserError
from meddiff.machine.extras import EXTRAS, how_to_get
from meddiff.machine.threads import available_threads
from meddiff.weights import CONTROLS, FOUNDATION, shipped_bundle

LEAST_MEMORY_GB, LEAST_DISK_GB = 8.0, 5.0  # Choice: a chest at 2 mm takes 4 GB; all weights, and some results
NETWORK_SECONDS = 5


class Finding(NamedTuple):
    """One thing that was looked at; `mend` is empty where nothing is to be done."""

    name: str
    found: str
    mend: str = ""


def checkup(network: bool = False) -> Iterator[Finding]:
    """Give what a task on one scan needs, thing by thing; the network is asked only where that is wanted."""
    yield Finding("meddiff", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield Finding("torch", f"{version('torch')}, {available_threads()} threads")
    yield from _extras()
    for name in (FOUNDATION, *CONTROLS):
        yield _asked(f"weights of {name}", lambda name=name: str(shipped_bundle(name)))
    yield _asked("weights of TotalSegmentator", _anatomy_weights)
    yield _gpu()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield _at_least("memory", memory_gb, LEAST_MEMORY_GB, "take a machine with more; whole bodies take more still")
    disk_gb = shutil.disk_usage(".").free / 1e9
    yield _at_least("free disk here", disk_gb, LEAST_DISK_GB, "free some, or work in another folder")
    if network:
        yield _asked("network", _network)


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        mend = f"{how_to_get(missing[0])}, if you want it" if missing else ""
        yield Finding(f"extra {extra}", f"lacks {', '.join(missing)}" if missing else "installed", mend)


def _anatomy_weights() -> str:
    if find_spec("totalsegmentator") is None:
        raise UserError(f"no TotalSegmentator; {how_to_get('totalsegmentator')}, or give masks with --anatomy")
    from meddiff.anatomy import official_weights

    return str(official_weights.find(AnatomyConfig()))


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Finding("GPU", ", ".join(f"{card.name}, {card.total_memory / 1e9:.0f} GB" for card in cards))
    if torch.backends.mps.is_available():
        return Finding("GPU", "Apple's", "give --device mps to use it")
    return Finding("GPU", "none that torch sees", "`nvidia-smi` tells whether there is one; tasks take minutes without")


def _network() -> str:
    import requests

    from meddiff.anatomy.official_weights import RELEASES

    try:
        requests.head(RELEASES, timeout=NETWORK_SECONDS)
    except requests.RequestException as error:
        raise UserError(
            f"no connection to {RELEASES.split('/')[2]} ({type(error).__name__}); where there is one, "
            "`meddiff weights --to DIR` brings what is needed"
        ) from error
    return "connected"


def _at_least(name: str, gb: float, least_gb: float, mend: str) -> Finding:
    return Finding(name, f"{gb:.0f} GB", mend if gb < least_gb else "")


def _asked(name: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(name, ask())
    except UserError as error:
        return Finding(name, "missing", str(error))
