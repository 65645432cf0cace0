"""Forward pass of the U-Net at the paper's width, as sampling runs it, against MONAI's with the same weights."""

import shutil

import numpy as np
import torch
from measure import Call, Candidate, Row, arguments, compare, compare_rates, matrix_product, measure, report
from peers import monai_twin, twin_input
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from meddiff.config import Config
from meddiff.machine.device import choose_device, set_up_cpu
from meddiff.model.graphed import Graphed
from meddiff.model.unet import UNet
from meddiff.store.position import patch_coordinates


def main() -> None:
    options = arguments(__doc__ or "")
    rows = forward(32 if options.quick else 64, repeats=3 if options.quick else 9, compiled=not options.quick)
    report("unet", rows, options.json)


def forward(size: int, repeats: int, compiled: bool) -> list[Row]:
    """Compare one forward pass of one window of `size`^3.

    The peer that keeps freed memory has our setting of the C library's allocator on top of its best one.
    """
    candidates = {
        "ours": Candidate(our_forward, (size,)),
        "monai-default": Candidate(monai_forward, (size, "default")),
        "monai-autocast": Candidate(monai_forward, (size, "autocast")),
        "monai-bf16": Candidate(monai_forward, (size, "bf16")),
    }
    if choose_device("auto").type == "cpu":
        candidates["monai-keeps-memory"] = Candidate(monai_forward, (size, "bf16", True))
    if compiled and shutil.which("g++"):
        candidates["monai-compiled"] = Candidate(monai_forward, (size, "compiled"))
    product = {"product": Candidate(matrix_product, (choose_device("auto").type,))}
    found = measure(candidates | product, repeats)
    product_flops = found["product"].result / found.pop("product").seconds
    print("medians: " + ", ".join(f"{name} {each.seconds:.3f} s" for name, each in found.items()))
    reference = found["monai-default"].result
    for name, each in found.items():
        print(f"{name}: mean difference {np.abs(each.result - reference).mean() / reference.std():.4f} of the spread")
    best = min(found.keys() - {"ours", "monai-default", "monai-keeps-memory"}, key=lambda name: found[name].seconds)
    case, ours = f"forward {size}^3", found["ours"]
    rows = [compare(case, "seconds", ours.seconds, peer.seconds, name) for name, peer in found.items() if peer != ours]
    rows.append(compare(case, "seconds", ours.seconds, found[best].seconds, "monai-best"))
    rows.append(compare(case, "peak_mb", ours.peak_mb, found[best].peak_mb, "monai-best"))
    flops = {"ours": _flops(our_forward(size, recorded=False)), "peer": _flops(monai_forward(size, "default"))}
    rows.append(compare(case, "flops", flops["ours"], flops["peer"], "monai-default"))
    speed = flops["ours"] / ours.seconds
    print(f"{speed / 1e9:.0f} of {product_flops / 1e9:.0f} GFLOP/s of a matrix product: {speed / product_flops:.0%}")
    rows.append(compare_rates(case, "flop_per_s", speed, product_flops, "matrix-product"))
    return rows


def our_forward(size: int, recorded: bool = True) -> Call:
    """Return a pass as sampling runs it; unless `recorded`, a GPU's launches are made one by one, and counted."""
    set_up_cpu(torch.get_num_threads())
    network, x, anatomy, coordinates, t, region = _case(size)
    network = network.to(torch.bfloat16, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if x.is_cuda and recorded:
        network = Graphed(network)
    with torch.inference_mode():
        condition = network.encode_condition(anatomy, coordinates)
    return _inference(lambda: network(x, t, region, condition))


def monai_forward(size: int, setting: str, keeps_memory: bool = False) -> Call:
    """Return a pass of MONAI's network at its defaults or as its users make it fast."""
    if keeps_memory:
        set_up_cpu(torch.get_num_threads())
    network, x, anatomy, coordinates, t, region = _case(size)
    twin = monai_twin(network)
    with torch.no_grad():
        inputs, context = twin_input(network, x, anatomy, coordinates), network.region(region)[:, None]
    if setting != "default":
        twin = twin.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
    if setting == "autocast":
        automatic = torch.autocast(x.device.type, torch.bfloat16)
        return _inference(automatic(lambda: twin(inputs, t, context=context, class_labels=region)))
    if setting in ("bf16", "compiled"):
        twin, inputs, context = twin.bfloat16(), inputs.bfloat16(), context.bfloat16()
    called = torch.compile(twin) if setting == "compiled" else twin
    return _inference(lambda: called(inputs, t, context=context, class_labels=region))


def _inference(call: Call) -> Call:
    return torch.inference_mode()(call)


def _case(size: int) -> tuple:
    """Return network, noisy image, anatomy, coordinates, timestep and region: the same for all candidates."""
    device = choose_device("auto")
    torch.manual_seed(0)
    network = UNet(Config().network("meddiff-fm")).eval().to(device)
    nn.init.normal_(network.conv_out.weight, std=0.1)  # zero at first, and nothing to compare
    x = torch.randn(1, 1, size, size, size, device=device)
    anatomy = torch.randint(0, 119, (1, size, size, size), dtype=torch.uint8, device=device)
    coordinates = patch_coordinates((0.0,) * 3, (1.0,) * 3, (size,) * 3, (size,) * 3, device)[None]
    return network, x, anatomy, coordinates, torch.tensor([500], device=device), torch.tensor([1], device=device)


def _flops(call: Call) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
