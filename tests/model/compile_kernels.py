"""Compile every kernel that a training pass launches, for a GPU that need not be there.

The test of the kernels runs this in a process of its own, since theirs has Triton's interpreter.
"""

import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from triton.runtime.jit import JITFunction

from meddiff.config import NetworkConfig
from meddiff.model import fused
from meddiff.model.unet import UNet
from tests.model.grids import random_coordinates

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.uint8: "*u8"}
compiled: set[str] = set()


def compile_instead(kernel: JITFunction, *given: Any, grid: Any, warmup: bool, **constants: Any) -> None:
    values = dict(zip(kernel.arg_names, given, strict=False)) | constants
    signature = {name: "constexpr" if name in constants else type_of(value) for name, value in values.items()}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): value for name, value in constants.items()})
    compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32))
    compiled.add(kernel.fn.__name__)


def type_of(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def main() -> None:
    JITFunction.run = compile_instead  # type: ignore[method-assign]
    fused._has_kernels = lambda h: True
    config = NetworkConfig(
        patch_vox=8, channels=16, channel_multipliers=(1, 2), attention_levels=(1,), attention_heads=1, norm_groups=8
    )
    network = UNet(config).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    anatomy = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            condition = network.encode_condition(anatomy, random_coordinates(1, (8, 8, 8)))
            out = network(torch.randn(1, 1, 8, 8, 8), torch.tensor([10]), torch.tensor([0]), condition)
        out.float().mean().backward()
    print(*sorted(compiled))


if __name__ == "__main__":
    main()
