"""Timing ours and its peers in turns, each in a process of its own, and the table that each benchmark writes."""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One comparison; a ratio above 1 means that ours is better."""

    case: str
    metric: str
    ours: float
    peer: float
    peer_name: str
    ratio: float


@dataclass(frozen=True)
class Candidate:
    """What is measured: `build(*arguments)` makes, in a new process, the call to time."""

    build: Callable[..., Call]
    arguments: tuple


@dataclass(frozen=True)
class Measured:
    """A candidate's median time, what a call takes in memory beyond the built candidate, and its last result."""

    seconds: float
    peak_mb: float
    result: Any


def compare(case: str, metric: str, ours: float, peer: float, peer_name: str) -> Row:
    """Return a row for a metric of which less is better."""
    return Row(case, metric, ours, peer, peer_name, peer / ours)


def measure(candidates: dict[str, Candidate], repeats: int) -> dict[str, Measured]:
    """Return every candidate's measures, after two calls of each to warm up.

    On a CPU they take turns, since its speed drifts; on a GPU, whose memory might not hold all, each is done before the
    next begins.
    """
    if torch.cuda.is_available() and len(candidates) > 1:
        found = {}
        for name, candidate in candidates.items():
            found |= measure({name: candidate}, repeats)
            print(f"{name}: {found[name].seconds:.4f} s, {found[name].peak_mb:.0f} MB", flush=True)
        return found
    workers = {name: _Worker(candidate) for name, candidate in candidates.items()}
    try:
        for _ in range(repeats + 2):
            for worker in workers.values():
                worker.call()
        return {name: worker.measured() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.process.terminate()
            worker.process.join()


def matrix_product(device: str, size: int | None = None) -> Call:
    """Return a large matrix product in bfloat16: what the hardware can do."""
    size = size or (8192 if device == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))

    def product() -> float:
        a @ b
        return 2.0 * size**3

    return product


def compare_rates(case: str, metric: str, ours: float, peer: float, peer_name: str) -> Row:
    """Return a row for a metric of which more is better."""
    return Row(case, metric, ours, peer, peer_name, ours / peer)


def arguments(description: str, **more: dict[str, Any]) -> argparse.Namespace:
    """Return the options that all benchmarks have; `more` are options of one, with argparse's keywords."""
    parser = argparse.ArgumentParser(description=description)
    for name, keywords in more.items():
        parser.add_argument(f"--{name}", **keywords)
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    return parser.parse_args()


def report(name: str, rows: list[Row], path: Path | None) -> None:
    """Print the table, and write it as JSON where asked."""
    width = max(len(row.case) for row in rows) + 2
    print(
        f"{name}: {hardware()}\n{'case':{width}}{'metric':<10}{'ours':>12}{'peer':>12}  {'peer name':<22}{'ratio':>6}"
    )
    for row in rows:
        numbers = f"{row.ours:>12.4g}{row.peer:>12.4g}  {row.peer_name:<22}{row.ratio:>6.2f}"
        print(f"{row.case:{width}}{row.metric:<10}{numbers}")
    if path:
        table = {
            "name": name,
            "hardware": hardware(),
            "date": datetime.now(UTC).date().isoformat(),
            "rows": [asdict(row) for row in rows],
        }
        path.write_text(json.dumps(table, indent=2) + "\n")


def demo_scan(folder: Path) -> Path:
    """Return the demo's chest CT, where `make demo` has brought it, or else a phantom of that size in `folder`."""
    scan = Path(__file__).parents[1] / "results/data/raw/demo-chest/cxr/ct.nii.gz"
    if scan.exists():
        return scan
    from meddiff.demo.phantom import make_phantom
    from meddiff.volumes import volumes

    print("no demo data: a phantom takes the place of the real scan")
    body = volumes.from_zyx(make_phantom(0, 1.5, "chest").ct_zyx, 1.5)
    volumes.write_image(body, folder / "phantom.nii.gz")
    return folder / "phantom.nii.gz"


def hardware() -> str:
    """Return processor, threads and GPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__.split('+')[0]}"


class _Worker:
    """The process of a candidate."""

    def __init__(self, candidate: Candidate) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, candidate), daemon=True)
        self.process.start()
        theirs.close()
        self._pipe.recv()  # it is built
        self._seconds: list[float] = []

    def call(self) -> None:
        self._pipe.send("call")
        self._seconds.append(self._pipe.recv())

    def measured(self) -> Measured:
        self._pipe.send("result")
        peak_mb, result = self._pipe.recv()
        return Measured(statistics.median(self._seconds[2:]), peak_mb, result)


def _serve(pipe: Connection, candidate: Candidate) -> None:
    torch.backends.cudnn.benchmark = True  # for all candidates
    call = candidate.build(*candidate.arguments)
    built_mb = memory_mb()
    pipe.send("built")
    result = None
    while True:
        if pipe.recv() == "call":
            seconds, result = _timed(call)
            pipe.send(seconds)
        else:
            pipe.send((memory_mb() - built_mb, _plain(result)))


def _plain(result: Any) -> Any:
    """Return what can be sent to another process."""
    return result.float().cpu().numpy() if isinstance(result, torch.Tensor) else result


def _timed(call: Call) -> tuple[float, Any]:
    _synchronise()
    began = time.perf_counter()
    result = call()
    _synchronise()
    return time.perf_counter() - began, result


def memory_mb(process: int | None = None) -> float:
    """Return the most memory a process has held so far, this one's of the GPU where there is one; 0 when it ended."""
    if process is None and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    # Not getrusage's maximum, which begins with that of the process that started this one.
    status = Path(f"/proc/{process or 'self'}/status").read_text()
    peaks = [int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith("VmHWM")]
    return peaks[0] if peaks else 0.0


def children_seconds() -> float:
    """Return the CPU seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
