"""Handing out the GPUs of one machine: each process that computes on one takes the first that no other has.

Snakemake counts GPUs (`resources: gpu`) but does not say which; without this all jobs would compute on the first.
"""

import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from meddiff.machine import kernel_lock

log = logging.getLogger(__name__)

FOLDER = Path(tempfile.gettempdir()) / "meddiff-gpus"  # of this machine, for all its users
VISIBLE = "CUDA_VISIBLE_DEVICES"
_mine: list[str] = []


def take_gpus(found: int, count: int) -> None:
    """Let this process see only GPUs of its own; to be called before CUDA starts.

    `CUDA_VISIBLE_DEVICES`, set by a person or by SLURM, says which there are to choose from. The GPUs are held until
    the process ends; a second call changes nothing.

    Args:
        found: GPUs of the machine.
        count: GPUs to take.
    """
    visible = os.environ.get(VISIBLE)
    ids = [str(number) for number in range(found)] if visible is None else [i.strip() for i in visible.split(",")]
    if _mine or not found:
        return
    first = int(os.environ.get("LOCAL_RANK", "0")) % len(ids)  # processes of torchrun shall not all share the same one
    _mine.extend(take_first_free(ids[first:] + ids[:first], count, FOLDER))
    os.environ[VISIBLE] = ",".join(_mine)


def take_first_free(ids: Sequence[str], count: int, folder: Path) -> list[str]:
    """Lock the first `count` free ones of `ids` until this process ends; where too few are free, share and say so.

    A job of SLURM may see its GPUs by numbers of its own, so the jobs' locks are apart.

    Args:
        ids: names of GPUs.
        count: how many; more than there are means all.
        folder: where the locks lie.
    """
    _make_for_all(folder)
    files = {gpu: folder / re.sub(r"[^\w-]+", "-", f"{os.environ.get('SLURM_JOB_ID', 'gpu')}-{gpu}") for gpu in ids}
    taken: list[str] = []
    for gpu, lock in files.items():
        if len(taken) < count and kernel_lock.try_hold(lock) is not None:
            taken.append(gpu)
    for gpu in [gpu for gpu in ids if gpu not in taken][: max(0, count - len(taken))]:
        log.warning("no GPU is free; sharing GPU %s with %s", gpu, kernel_lock.holder(files[gpu]))
        taken.append(gpu)
    return taken


def _make_for_all(folder: Path) -> None:
    """Make a folder into which every user may write and where none may delete another's files."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    folder.chmod(0o1777)
