"""Choosing where tensors live and how many threads work on them."""

import os

import torch

from meddiff.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device of a configuration value: `auto` is the GPU where there is one.

    Raises:
        UserError: a GPU is asked for and there is none; or this torch has faulty 3-D convolutions.
    """
    if torch.__version__.startswith("2.9."):
        raise UserError(f"torch {torch.__version__} has slow, faulty 3-D convolutions; install the locked version")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: 'cuda' is configured but torch sees no GPU; set device: auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def use_threads(count: int) -> None:
    """Let torch use `count` threads, but no more than there are cores for this process."""
    torch.set_num_threads(max(1, min(count, len(os.sched_getaffinity(0)))))
