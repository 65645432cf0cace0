"""Choosing where tensors live, in what precision they are, and how many threads work on them."""

import ctypes
import logging
import os
from functools import cache

import torch

from meddiff.errors import UserError
from meddiff.machine.gpus import take_gpus
from meddiff.machine.threads import available_threads

log = logging.getLogger(__name__)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def choose_device(name: str, gpus: int = 1) -> torch.device:
    """Return the device of a configuration value: `auto` is the GPU where there is one.

    Of several GPUs this process from now on sees only `gpus` that no other process of this program computes on; the
    first call decides.

    Raises:
        UserError: a GPU is asked for and there is none; or this torch has faulty 3-D convolutions.
    """
    if torch.__version__.startswith("2.9."):
        raise UserError(f"torch {torch.__version__} has slow, faulty 3-D convolutions; install the locked version")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("machine.device: 'mps' is configured but torch sees no GPU of Apple's; set it to auto")
        return torch.device("mps")
    if name != "cpu":
        take_gpus(torch.cuda.device_count(), gpus)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("machine.device: 'cuda' is configured but torch sees no GPU; set machine.device: auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@cache
def has_bfloat16(kind: str) -> bool:
    """Tell whether devices of this kind (`torch.device.type`) are made for bfloat16; it is said where they are not.

    Choice: the others compute in float32 whatever is configured. Theirs is an emulation: with AVX2 alone a step of
    training takes six times as long in bfloat16 as in float32.
    """
    if kind == "cuda":
        made_for_it = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        made_for_it = any(has for name, has in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
    else:
        made_for_it = True
    if not made_for_it:
        log.info("networks compute in float32: this %s has no instructions for bfloat16", kind)
    return made_for_it


def has_int8(kind: str) -> bool:
    """Tell whether devices of this kind are CPUs made for products of integers of eight bits."""
    capabilities = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return any(capabilities.get(name, False) for name in ("avx512_vnni", "amx_int8"))


def autocast(device: torch.device, bfloat16: bool) -> torch.autocast:
    """Return autocast to bfloat16, where that is wanted and the device is made for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16 and has_bfloat16(device.type))


def set_up_cpu(threads: int | None) -> None:
    """Let torch use `threads` threads, but no more than there are cores for this process, and keep freed memory.

    None are those of OMP_NUM_THREADS, or a thread for each core.
    """
    torch.set_num_threads(min(threads, len(os.sched_getaffinity(0))) if threads else available_threads())
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the C library keep what a network's step frees for the next one.

    It gives large blocks back to the kernel, which clears every page anew: a sixth of the time of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of the GNU C library
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
