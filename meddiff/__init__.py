"""MedDiff-FM: a 3-D diffusion foundation model for CT, and the pipeline around it.

`from meddiff import MedDiffFM` is the way in from Python, imported when it is asked for, since torch comes along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddiff.api import DrawnLesion, MedDiffFM, Voxels

__version__ = "0.2.0"
__all__ = ["DrawnLesion", "MedDiffFM", "Voxels"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("meddiff.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
