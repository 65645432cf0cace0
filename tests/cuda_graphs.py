"""CUDA's graphs without a GPU: what records and what is recorded are stand-ins."""

from contextlib import nullcontext
from types import SimpleNamespace


def install(monkeypatch, graph, record):
    """Let `torch.cuda` have a class of graphs and a context manager that records into one."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, stand_in in {
        "CUDAGraph": graph,
        "graph": record,
        "graph_pool_handle": object,
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": nullcontext,
        "device": nullcontext,
    }.items():
        monkeypatch.setattr(f"torch.cuda.{name}", stand_in)
