"""Timing ours and its peers in turns, and the table that each benchmark prints and writes."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch


@dataclass(frozen=True)
class Row:
    """One comparison; a ratio above 1 means that ours is better."""

    case: str
    metric: str
    ours: float
    peer: float
    peer_name: str
    ratio: float


def compare(case: str, metric: str, ours: float, peer: float, peer_name: str) -> Row:
    """Return a row for a metric of which less is better."""
    return Row(case, metric, ours, peer, peer_name, peer / ours)


def median_seconds(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return each candidate's median time; they take turns, after one call of each to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, call in candidates.items():
            _synchronise()
            began = time.perf_counter()
            call()
            _synchronise()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def peak_flops(dtype: torch.dtype, device: torch.device, size: int = 2048, repeats: int = 7) -> float:
    """Return the FLOPs per second of a large matrix product: what this hardware can do."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / median_seconds({"product": lambda: a @ b}, repeats)["product"]


def arguments(description: str) -> argparse.Namespace:
    """Return the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    return parser.parse_args()


def report(name: str, rows: list[Row], path: Path | None) -> None:
    """Print the table, and write it as JSON where asked."""
    width = max(len(row.case) for row in rows) + 2
    print(
        f"{name}: {hardware()}\n{'case':{width}}{'metric':<14}{'ours':>12}{'peer':>12}  {'peer name':<18}{'ratio':>6}"
    )
    for row in rows:
        numbers = f"{row.ours:>12.4g}{row.peer:>12.4g}  {row.peer_name:<18}{row.ratio:>6.2f}"
        print(f"{row.case:{width}}{row.metric:<14}{numbers}")
    if path:
        table = {
            "name": name,
            "hardware": hardware(),
            "date": datetime.now(UTC).date().isoformat(),
            "rows": [asdict(row) for row in rows],
        }
        path.write_text(json.dumps(table, indent=2) + "\n")


def hardware() -> str:
    """Return processor, threads and GPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__.split('+')[0]}"


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
