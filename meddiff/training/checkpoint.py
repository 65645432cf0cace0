"""Checkpoints that appear whole, of which the newest readable one counts."""

import logging
from pathlib import Path
from typing import Any

import torch

from meddiff.machine.faults import machine_fault
from meddiff.machine.files import temporary_beside

log = logging.getLogger(__name__)


def save(state: dict[str, Any], step: int, run_dir: Path, keep: int) -> None:
    """Write a checkpoint and delete all but the last `keep`."""
    with temporary_beside(run_dir / f"checkpoint-{step:09d}.pt") as temporary:
        torch.save(state, temporary)
    for old in _newest_first(run_dir)[keep:]:
        old.unlink()


def load_latest(run_dir: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the state of the newest checkpoint that can be read, or None where there is none."""
    for path in _newest_first(run_dir):
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # a damaged file raises one of many types
            if machine_fault(error):
                raise
            log.warning("%s is damaged (%s); trying the one before", path.name, type(error).__name__)
    return None


def _newest_first(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("checkpoint-*.pt"), reverse=True)
