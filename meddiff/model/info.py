"""The size of a network: parameters and multiplications by resolution level."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from meddiff.config import NetworkConfig
from meddiff.model.blocks import parameter_count
from meddiff.model.unet import UNet

CONDITION, EMBEDDINGS = "condition part of the first convolution", "embeddings"
FIRST_AND_LAST = "first and last convolution"


@dataclass(frozen=True)
class Part:
    """A part of the network; FLOPs of one forward pass of one window, two for each multiply-add."""

    name: str
    parameters: int
    flops: int


def parts(config: NetworkConfig, size_zyx: Sequence[int] | None = None) -> list[Part]:
    """Return the parts of a network in the order of its levels; their sums are those of the whole network.

    FLOPs are those of a window of some size; none: of a patch. Resampling counts to the finer of its two levels.
    Sampling computes the condition's part once per window.
    """
    with torch.device("meta"):
        network = UNet(config)
    levels = len(config.channel_multipliers)
    counts = _flops(network, size_zyx or (config.patch_vox,) * 3)
    found = {name: [0, 0] for name in (EMBEDDINGS, CONDITION, FIRST_AND_LAST)}
    found |= {_level_name(config, depth): [0, 0] for depth in range(levels)}
    for child_name, child in network.named_children():
        grandchildren = child.named_children() if child_name in ("down", "up", "downsample", "upsample") else ()
        for path, module in [(f"{child_name}.{n}", m) for n, m in grandchildren] or [(child_name, child)]:
            entry = found[_part_of(path, config)]
            entry[0] += parameter_count(module)
            entry[1] += sum(flops for name, flops in counts.items() if name == path or name.startswith(f"{path}."))
    return [Part(name, *numbers) for name, numbers in found.items()]


def window_flops(config: NetworkConfig, size_zyx: Sequence[int] | None = None) -> tuple[int, int]:
    """Return the FLOPs of one estimate of a window, its conditions given, and of encoding its conditions."""
    flops = {part.name: part.flops for part in parts(config, size_zyx)}
    encoding = flops.pop(CONDITION)
    return sum(flops.values()), encoding


def _level_name(config: NetworkConfig, depth: int) -> str:
    return f"level {depth}, {config.patch_vox // 2**depth}^3 x {config.channels * config.channel_multipliers[depth]}"


def _part_of(path: str, config: NetworkConfig) -> str:
    last = len(config.channel_multipliers) - 1
    name, _, number = path.partition(".")
    depths = {"down": int, "downsample": int, "up": lambda n: last - int(n), "upsample": lambda n: last - 1 - int(n)}
    if name in depths:
        return _level_name(config, depths[name](number))
    if name.startswith("middle"):
        return _level_name(config, last)
    return {
        "conv_condition": CONDITION,
        "anatomy": CONDITION,
        "conv_image": FIRST_AND_LAST,
        "norm_out": FIRST_AND_LAST,
        "conv_out": FIRST_AND_LAST,
    }.get(name, EMBEDDINGS)


def _flops(network: UNet, size_zyx: Sequence[int]) -> dict[str, int]:
    """Return the FLOPs of every module that is called by the network itself, by its path."""
    one = torch.zeros(1, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        anatomy = torch.empty((1, *size_zyx), dtype=torch.uint8, device="meta")
        condition = network.encode_condition(anatomy, torch.empty((1, 3, *size_zyx), device="meta"))
        network(torch.empty((1, 1, *size_zyx), device="meta"), one, one, condition)
    counts = {name: sum(by_operation.values()) for name, by_operation in counter.get_flop_counts().items()}
    own = {name.removeprefix("UNet."): flops for name, flops in counts.items() if name.startswith("UNet.")}
    outermost = {n: flops for n, flops in own.items() if not any(n.startswith(f"{other}.") for other in own)}
    return outermost | {"conv_condition": counts["Global"] - counts["UNet"]}
