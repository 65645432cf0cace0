"""One optimizer step at the paper's width, as the training loop runs it, against MONAI's network in a plain loop."""

import shutil

import torch
import torch.nn.functional as F
from measure import Call, Candidate, Row, arguments, compare, measure, report
from peers import monai_twin, twin_input
from torch import nn

from meddiff.config import Config, TrainingConfig
from meddiff.diffusion.schedule import Schedule
from meddiff.machine.device import choose_device, set_up_cpu
from meddiff.model.unet import UNet
from meddiff.store.patches import Sample
from meddiff.store.position import patch_coordinates
from meddiff.training.gradients import Outcome, gradient_norm
from meddiff.training.loop import State
from meddiff.training.objective import Noising, Objective
from meddiff.training.passes import make_pass
from meddiff.training.run import Run

TIMESTEPS = 1000


def main() -> None:
    options = arguments(__doc__ or "")
    small, large = (64, 128) if choose_device("auto").type == "cuda" else (32, 64)
    rows = training_step(small, repeats=3 if options.quick else 15, compiled=not options.quick)
    if not options.quick:
        rows += training_step(large, repeats=3, compiled=True)
    report("training_step", rows, options.json)


def training_step(size: int, repeats: int, compiled: bool) -> list[Row]:
    """Compare one step of one patch: loss, gradients, clipping, Adam, moving average; bfloat16 autocast for all.

    The peer that keeps freed memory has our setting of the C library's allocator on top of its best one.
    """
    candidates = {
        "ours": Candidate(our_step, (size,)),
        "monai-autocast": Candidate(monai_step, (size, "autocast")),
        "monai-channels-last": Candidate(monai_step, (size, "channels-last")),
    }
    if choose_device("auto").type == "cpu":
        candidates["monai-keeps-memory"] = Candidate(monai_step, (size, "channels-last", True))
    if compiled and shutil.which("g++"):
        candidates["monai-compiled"] = Candidate(monai_step, (size, "compiled"))
    found = measure(candidates, repeats)
    print("medians: " + ", ".join(f"{name} {each.seconds:.3f} s" for name, each in found.items()))
    best = min(found.keys() - {"ours", "monai-keeps-memory"}, key=lambda name: found[name].seconds)
    rows = []
    for label, peer in {"monai-best": best, "monai-keeps-memory": "monai-keeps-memory"}.items():
        if peer not in found:
            continue
        for metric in ("seconds", "peak_mb"):
            values = (getattr(found[name], metric) for name in ("ours", peer))
            rows.append(compare(f"training step {size}^3", metric, *values, label))
    return rows


def our_step(size: int) -> Call:
    set_up_cpu(torch.get_num_threads())
    network, batch, schedule = _case(size)
    device = batch.image.device
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    objective = Objective(network, schedule, "epsilon")
    config, run = TrainingConfig(accumulation=1), Run("benchmark", None, 0, device, 10**6)  # type: ignore[arg-type]
    state, one_pass = State(network, config), make_pass(objective, config, run)
    parameters = list(network.parameters())

    def step() -> None:
        loss = one_pass(batch, Noising.draw(batch, TIMESTEPS, state.step))
        loss, norm = torch.stack((loss, gradient_norm(parameters))).tolist()
        state.advance(Outcome(loss, norm, False, False, 0.0), run, None)  # type: ignore[arg-type]

    return step


def monai_step(size: int, setting: str, keeps_memory: bool = False) -> Call:
    """Return a step of MONAI's network; the embedded conditions are given, which is to its advantage."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    if keeps_memory:
        set_up_cpu(torch.get_num_threads())
    memory_format = torch.contiguous_format if setting == "autocast" else torch.channels_last_3d
    network, batch, schedule = _case(size)
    twin = monai_twin(network).to(memory_format=memory_format)  # type: ignore[call-overload]
    average = AveragedModel(twin, multi_avg_fn=get_ema_multi_avg_fn(0.9999))
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-4)
    with torch.no_grad():
        conditions = twin_input(network, batch.image, batch.anatomy, batch.coordinates)[:, 1:]
        context = network.region(batch.region)[:, None]  # type: ignore[arg-type]
    called = torch.compile(twin) if setting == "compiled" else twin
    number = 0

    def step() -> None:
        nonlocal number
        noise, t = Noising.draw(batch, TIMESTEPS, number)
        number += 1
        inputs = torch.cat((schedule.add_noise(batch.image, noise, t), conditions), dim=1)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            estimate = called(inputs.to(memory_format=memory_format), t, context=context, class_labels=batch.region)
            loss = F.l1_loss(estimate.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(twin)
        loss.item()

    return step


def _case(size: int) -> tuple[UNet, Sample, Schedule]:
    """Return network, batch and schedule: the same for all candidates."""
    device = choose_device("auto")
    torch.manual_seed(0)
    network = UNet(Config().network("meddiff-fm")).to(device)
    nn.init.normal_(network.conv_out.weight, std=0.1)
    batch = Sample(
        image=torch.randn(1, 1, size, size, size, device=device),
        anatomy=torch.randint(0, 119, (1, size, size, size), dtype=torch.uint8, device=device),
        coordinates=patch_coordinates((0.0,) * 3, (1.0,) * 3, (size,) * 3, (size,) * 3, device)[None],
        region=torch.tensor([1], device=device),  # type: ignore[arg-type]
        level=0,
        record=0,
    )
    return network, batch, Schedule(TIMESTEPS, device)


if __name__ == "__main__":
    main()
