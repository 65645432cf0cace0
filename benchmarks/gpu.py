"""What a GPU makes of the model: speed, memory and correctness, against MONAI's networks in the same run.

It needs torch, numpy, pydantic and MONAI beside this project, no data and no weights, and some minutes.
What does not fit into the time is left out, and the table says so.
"""

import gc
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from maisi import CHEAP_RECIPES, MAISI_STEPS, RECIPES, SMALL, Maisi, draw, our_network
from measure import Row, arguments, compare, report
from training_step import training_step
from unet import forward

from meddiff.config import Config, DiffusionConfig, MachineConfig, NetworkConfig, SamplingConfig, TrainingConfig
from meddiff.diffusion.sampling import sample_volume
from meddiff.diffusion.schedule import Schedule
from meddiff.diffusion.sliding import Condition, SlidingWindows
from meddiff.errors import TimeSliceEnded
from meddiff.model.unet import UNet
from meddiff.store.patches import Sample
from meddiff.store.position import patch_coordinates
from meddiff.training.loop import train
from meddiff.training.objective import Objective
from meddiff.training.run import Run

# Besides the recipes of the comparison, windows side by side that move from step to step, with the steps of a student.
SHIFTED = {"ddim 8, shifted windows": SamplingConfig(solver="ddim", steps=8, windows="shifted")}

DECODER_PARTS = (1, 8)  # of its convolutions; many are slow, since MONAI joins large ones on the host


def main() -> None:
    options = arguments(
        __doc__ or "",
        device={"default": "auto", "choices": ("auto", "cpu", "cuda")},
        minutes={"type": float, "default": 8.0, "help": "no part begins after this time"},
        parts={"default": ",".join(PARTS), "help": "which parts, with commas"},
    )
    logging.disable(logging.INFO)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the candidates' processes, too
    use_cuda = torch.cuda.is_available()
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if use_cuda else "cpu")
    rows, began = [], time.monotonic()
    for name in options.parts.split(","):
        if time.monotonic() - began > 60 * options.minutes:
            print(f"{name}: left out, the time is up", flush=True)
            continue
        part_began = time.monotonic()
        try:
            rows += PARTS[name](device, options.quick or not use_cuda)
        except Exception as error:  # what one part cannot do must not cost the others
            print(f"{name}: failed, {type(error).__name__}: {str(error)[:500]}", flush=True)
        print(f"{name}: {time.monotonic() - part_began:.0f} s", flush=True)
        if rows:
            report("gpu", rows, options.json)


def ceilings(device: torch.device, quick: bool) -> list[Row]:
    """Print what the device can do: a large matrix product, and a copy of its memory, bytes read and written."""
    size = 2048 if quick else 8192
    a = torch.randn(size, size, device=device).bfloat16()
    source = torch.randn(2**24 if quick else 2**28, device=device)
    target = torch.empty_like(source)
    product, copy = _median(lambda: a @ a, device), _median(lambda: target.copy_(source), device)
    print(f"matrix product {2 * size**3 / product / 1e12:.1f} TFLOP/s, copy {2 * source.nbytes / copy / 1e9:.0f} GB/s")
    return []


def passes(device: torch.device, quick: bool) -> list[Row]:
    return forward(32 if quick else 128, repeats=3 if quick else 7, compiled=not quick)


def steps(device: torch.device, quick: bool) -> list[Row]:
    return training_step(16 if quick else 128, repeats=3 if quick else 5, compiled=not quick)


def volumes(device: torch.device, quick: bool) -> list[Row]:
    return _volumes(device, 64 if quick else 256, RECIPES | SHIFTED, quick)


def large_volumes(device: torch.device, quick: bool) -> list[Row]:
    """The default is left out here: it takes a minute, and eight times what it takes at 256^3."""
    return [] if quick else _volumes(device, 512, CHEAP_RECIPES, quick)


def _volumes(device: torch.device, size: int, recipes: dict[str, SamplingConfig], quick: bool) -> list[Row]:
    """Time whole volumes at the paper's size, and MAISI's networks for the same number of voxels."""
    found = {}
    for name, recipe in recipes.items():
        found[name] = _our_seconds(SMALL if quick else Config().network("meddiff-fm"), recipe, size, device)
        print(f"{size}^3, {name}: {found[name]:.2f} s, {_peak_gb(device):.1f} GB", flush=True)
    maisi = None if quick else _maisi_seconds(device, size)
    if maisi is None:
        return []
    return [compare(f"volume {size}^3, {name}", "seconds", each, maisi, "maisi-v2") for name, each in found.items()]


def correctness(device: torch.device, quick: bool) -> list[Row]:
    """Print how far forward, backward and a sampled volume are from the CPU's, all in float32 without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    outputs, gradients, drawn = zip(*(_results(place) for place in (torch.device("cpu"), device)), strict=True)
    print(f"forward: {_difference(*outputs):.1e}, backward: {_difference(*gradients):.1e}", flush=True)
    print(f"volume: {_difference(*drawn):.1e} (relative differences to the CPU)", flush=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return []


def resuming(device: torch.device, quick: bool) -> list[Row]:
    """Print whether a training that was stopped and resumed ends as one that was not."""
    with tempfile.TemporaryDirectory() as folder:
        once = _trained(Path(folder) / "once", device, stops=False)
        twice = _trained(Path(folder) / "twice", device, stops=True)
    same = all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    worst = max(float((a - b).abs().max()) for a, b in zip(once, twice, strict=True))
    print(f"stopped and resumed: {'the same bits' if same else f'weights differ by up to {worst:.1e}'}")
    return []


PARTS: dict[str, Callable[[torch.device, bool], list[Row]]] = {
    "ceilings": ceilings,
    "correctness": correctness,
    "resuming": resuming,
    "passes": passes,
    "volumes": volumes,
    "steps": steps,
    "large_volumes": large_volumes,
}


def _our_seconds(config: NetworkConfig, recipe: SamplingConfig, size: int, device: torch.device) -> float:
    _release(device)
    network = our_network(config, device)
    draw(network, recipe.model_copy(update={"steps": 1}), size)  # compiles and records
    _synchronise(device)
    began = time.perf_counter()
    draw(network, recipe, size)
    _synchronise(device)
    return time.perf_counter() - began


def _maisi_seconds(device: torch.device, size: int) -> float | None:
    """Return the time of MAISI-v2's networks: its steps, of which a few are timed, and its decoder."""
    for parts in DECODER_PARTS:
        _release(device)
        try:
            maisi = Maisi(size, device, parts)
            step = _median(maisi.step, device, repeats=3)
            print(f"MAISI-v2 {size}^3: step {step:.3f} s, {_peak_gb(device):.1f} GB", flush=True)
            maisi.step_is_done()
            decoder = _median(maisi.decode, device, repeats=1)
        except torch.OutOfMemoryError as error:
            print(f"MAISI-v2 at {size}^3, decoder in {parts} parts: {str(error).splitlines()[0]}", flush=True)
            continue
        print(f"decoder in {parts} parts {decoder:.2f} s, {_peak_gb(device):.1f} GB", flush=True)
        return MAISI_STEPS * step + decoder
    return None


def _results(device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = UNet(SMALL)
    for parameter in network.parameters():  # zero-initialised parts would compare nothing
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    batch = _batch(2)
    moved = batch.to(device)
    condition = network.encode_condition(moved.anatomy, moved.coordinates)
    output = network(moved.image, torch.tensor([20, 800], device=device), moved.region, condition)
    output.square().mean().backward()
    gradient = torch.cat([p.grad.flatten().cpu() for p in network.parameters() if p.grad is not None])
    anatomy = torch.arange(48 * 40 * 40).reshape(48, 40, 40).remainder(119).to(torch.uint8)
    recipe = SamplingConfig(solver="ddim", steps=4, bfloat16=False)
    windows = SlidingWindows([network], DiffusionConfig(prediction="v"), Condition(anatomy, 1), recipe)
    return output.detach().cpu(), gradient, sample_volume(windows, 0)


class _Samples(torch.utils.data.Dataset):
    """Random samples; each is a pure function of its number."""

    records = (None,)  # counted in the log

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, number: int) -> Sample:
        batch = _batch(1, number)
        return Sample(batch.image[0], batch.anatomy[0], batch.coordinates[0], 1, 2, 0)


def _batch(size: int, seed: int = 0) -> Sample:
    edge = SMALL.patch_vox
    generator = torch.Generator().manual_seed(seed)
    coordinates = patch_coordinates((0.0,) * 3, (1.0,) * 3, (edge,) * 3, (edge,) * 3)
    return Sample(
        torch.rand(size, 1, edge, edge, edge, generator=generator) * 2 - 1,
        torch.randint(0, 119, (size, edge, edge, edge), generator=generator, dtype=torch.uint8),
        coordinates.expand(size, -1, -1, -1, -1).contiguous(),
        torch.ones(size, dtype=torch.int64),  # type: ignore[arg-type]
        torch.full((size,), 2),  # type: ignore[arg-type]
        torch.zeros(size, dtype=torch.int64),  # type: ignore[arg-type]
    )


def _trained(folder: Path, device: torch.device, stops: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    network = UNet(SMALL).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    objective = Objective(network, Schedule(1000, device), "v")
    config = TrainingConfig(steps=30, batch_size=2, accumulation=1)
    machine = MachineConfig(workers=0)
    data: Any = _Samples()
    if stops:
        try:
            train(Run("stopped", folder, 0, device, config.steps, 0.0, machine), objective, data, config)
        except TimeSliceEnded:
            return _trained(folder, device, stops=False)
    trained = train(Run("whole", folder, 0, device, config.steps, machine=machine), objective, data, config)
    return [parameter.detach().cpu() for parameter in trained.parameters()]


def _median(call: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats + 1):
        _synchronise(device)
        began = time.perf_counter()
        call()
        _synchronise(device)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[repeats // 2]


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / one.norm())


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _release(device: torch.device) -> None:
    """Give back what nothing uses any more, and begin to count the peak anew."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_gb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0


if __name__ == "__main__":
    main()
