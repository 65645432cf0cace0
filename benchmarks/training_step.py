"""One optimizer step at the paper's width, as the training loop runs it, against MONAI's network in a plain loop."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import Row, arguments, compare, median_seconds, report
from peers import monai_twin, twin_input
from torch import nn

from meddiff.config import Config, TrainingConfig
from meddiff.data.patches import Sample
from meddiff.device import choose_device
from meddiff.diffusion.schedule import Schedule
from meddiff.model.unet import UNet
from meddiff.training.loop import Outcome, Run, State
from meddiff.training.objective import Noising, Objective


def main() -> None:
    options = arguments(__doc__ or "")
    device = choose_device("auto")
    size = 128 if device.type == "cuda" else 32
    rows = training_step(size, device, repeats=3 if options.quick else 9)
    report("training_step", rows, options.json)


def training_step(size: int, device: torch.device, repeats: int) -> list[Row]:
    """Compare one step of one patch: loss, gradients, clipping, Adam, moving average; bfloat16 autocast for all."""
    torch.manual_seed(0)
    network = UNet(Config().network("meddiff-fm")).to(device)
    nn.init.normal_(network.conv_out.weight, std=0.1)
    twin = monai_twin(network)
    schedule = Schedule(1000, device)
    batch = Sample(
        image=torch.randn(1, 1, size, size, size, device=device),
        anatomy=torch.randint(0, 119, (1, size, size, size), dtype=torch.uint8, device=device),
        coordinates=torch.rand(1, 3, size, size, size, device=device) * 2 - 1,
        region=torch.tensor([1], device=device),  # type: ignore[arg-type]
        level=0,
        record=0,
    )
    peers = {
        "monai-autocast": _monai_step(twin, network, batch, schedule, device, torch.contiguous_format),
        "monai-channels": _monai_step(copy.deepcopy(twin), network, batch, schedule, device, torch.channels_last_3d),
    }
    candidates = {"ours": _our_step(network, batch, schedule, device), **peers}
    seconds = median_seconds(candidates, repeats)
    print("medians: " + ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items()))
    best = min(peers, key=lambda name: seconds[name])
    case = f"training step {size}^3"
    rows = [compare(case, "seconds", seconds["ours"], seconds[best], "monai-best")]
    if device.type == "cuda":
        memory = {name: _peak_gpu_mb(call) for name, call in candidates.items()}
        rows.append(compare(case, "peak_mb", memory["ours"], memory[best], "monai-best"))
    return rows


def _our_step(network: UNet, batch: Sample, schedule: Schedule, device: torch.device) -> Callable[[], object]:
    objective = Objective(network, schedule, "epsilon")
    state = State(network, TrainingConfig())
    run = Run("benchmark", None, 0, device)  # type: ignore[arg-type]

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = objective(batch, Noising.draw(batch, 1000, state.step)).mean()
        loss.backward()
        state.advance(Outcome(loss.item(), stop=False, waited=0.0, records=[]), run, None)  # type: ignore[arg-type]

    return step


def _monai_step(
    twin: nn.Module,
    network: UNet,
    batch: Sample,
    schedule: Schedule,
    device: torch.device,
    memory_format: torch.memory_format,
) -> Callable[[], object]:
    """Return a step of MONAI's network; the embedded conditions are given, which is to its advantage."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    twin = twin.to(memory_format=memory_format)  # type: ignore[call-overload]
    average = AveragedModel(twin, multi_avg_fn=get_ema_multi_avg_fn(0.9999))
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-4)
    with torch.no_grad():
        conditions = twin_input(network, batch.image, batch.anatomy, batch.coordinates)[:, 1:]
        context = network.region(batch.region)[:, None]  # type: ignore[arg-type]
    number = 0

    def step() -> None:
        nonlocal number
        noise, t = Noising.draw(batch, 1000, number)
        number += 1
        inputs = torch.cat((schedule.add_noise(batch.image, noise, t), conditions), dim=1)
        with torch.autocast(device.type, torch.bfloat16):
            estimate = twin(inputs.to(memory_format=memory_format), t, context=context, class_labels=batch.region)
            loss = F.l1_loss(estimate.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(twin)
        loss.item()

    return step


def _peak_gpu_mb(call: Callable[[], object]) -> float:
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() / 1e6


if __name__ == "__main__":
    main()
