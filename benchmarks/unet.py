"""Forward pass of the U-Net at the paper's width, as sampling runs it, against MONAI's with the same weights."""

import copy
import shutil
from collections.abc import Callable

import torch
from measure import Row, arguments, compare, median_seconds, peak_flops, report
from peers import monai_twin, twin_input
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from meddiff.config import Config, NetworkConfig
from meddiff.device import choose_device
from meddiff.model.unet import UNet

Call = Callable[[], object]


def main() -> None:
    options = arguments(__doc__ or "")
    config = Config().network("meddiff-fm")
    rows = forward(config, 32 if options.quick else 64, repeats=3 if options.quick else 9)
    report("unet", rows, options.json)


@torch.inference_mode()
def forward(config: NetworkConfig, size: int, repeats: int) -> list[Row]:
    """Compare one forward pass of one window of `size`^3."""
    device = choose_device("auto")
    torch.manual_seed(0)
    network = UNet(config).eval().to(device)
    nn.init.normal_(network.conv_out.weight, std=0.1)  # zero at first, and nothing to compare
    x = torch.randn(1, 1, size, size, size, device=device)
    anatomy = torch.randint(0, 119, (1, size, size, size), dtype=torch.uint8, device=device)
    coordinates = torch.rand(1, 3, size, size, size, device=device) * 2 - 1
    t, region = torch.tensor([500], device=device), torch.tensor([1], device=device)
    twin = monai_twin(network)
    inputs, context = twin_input(network, x, anatomy, coordinates), network.region(region)[:, None]
    fast = network.to(memory_format=torch.channels_last_3d)

    def autocast(call: Call) -> Call:
        def run() -> object:
            with torch.autocast(device.type, torch.bfloat16):
                return call()

        return run

    condition = autocast(lambda: fast.encode_condition(anatomy, coordinates))()
    ours = autocast(lambda: fast(x, t, region, condition))
    peers = _peers(twin, inputs, t, context, region, autocast)
    if repeats < 5 or not shutil.which("g++"):
        del peers["monai-compiled"]
    difference = (ours() - peers["monai-default"]()).abs().mean() / peers["monai-default"]().std()
    print(f"mean difference to MONAI in float32, in standard deviations of the estimate: {float(difference):.4f}")
    seconds = median_seconds({"ours": ours, **peers}, repeats)
    best = min((name for name in peers if name != "monai-default"), key=lambda name: seconds[name])
    print("medians: " + ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items()))
    case = f"forward {size}^3"
    rows = [compare(case, "seconds", seconds["ours"], seconds[name], name) for name in peers]
    rows.append(compare(case, "seconds", seconds["ours"], seconds[best], "monai-best"))
    flops = {"ours": _flops(ours), "peer": _flops(peers["monai-default"])}
    rows.append(compare(case, "flops", flops["ours"], flops["peer"], "monai-default"))
    peak = peak_flops(torch.bfloat16, device)
    share = flops["ours"] / seconds["ours"] / peak
    print(f"{flops['ours'] / seconds['ours'] / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s of a matrix product: {share:.0%}")
    return rows


def _peers(twin: nn.Module, inputs, t, context, region, autocast: Callable[[Call], Call]) -> dict[str, Call]:
    """Return MONAI's network at its defaults and as its users make it fast."""
    fast = copy.deepcopy(twin).to(memory_format=torch.channels_last_3d)
    half = copy.deepcopy(twin).to(dtype=torch.bfloat16, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    inputs_fast = inputs.contiguous(memory_format=torch.channels_last_3d)
    inputs_half, context_half = inputs_fast.bfloat16(), context.bfloat16()
    compiled = torch.compile(half)
    return {
        "monai-default": lambda: twin(inputs, t, context=context, class_labels=region),
        "monai-autocast": autocast(lambda: fast(inputs_fast, t, context=context, class_labels=region)),
        "monai-bf16": lambda: half(inputs_half, t, context=context_half, class_labels=region),
        "monai-compiled": lambda: compiled(inputs_half, t, context=context_half, class_labels=region),
    }


def _flops(call: Call) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
