"""Room in shared memory, through which the processes that read patches hand batches to a training.

Where there is too little (a container has 64 MB unless it is told otherwise), torch loses a batch in the background and
the training waits for it forever; so it is counted before the processes start.
"""

import logging
import os
import shutil
from pathlib import Path

SHARED_MEMORY = Path("/dev") / "shm"
PREFETCHED = 2  # batches that torch has each process read ahead
IN_USE = 2  # batches that the training has taken: the one it works on, and the next

log = logging.getLogger(__name__)


def readers_with_room(wanted: int, batch_bytes: int, folder: Path = SHARED_MEMORY) -> int:
    """Return how many of the wanted processes have room for their batches; 0: the training reads them itself.

    Args:
        wanted: processes that read.
        batch_bytes: of one batch.
        folder: where shared memory is mounted; a system without it needs none.
    """
    if not wanted or not folder.is_dir():
        return wanted
    trainings = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # those that torchrun has started here
    free = shutil.disk_usage(folder).free / trainings
    readers = min(wanted, max(0, int((free / batch_bytes - IN_USE) / PREFETCHED)))
    if readers < wanted:
        log.warning(
            "%s has %.0f MB free, batches have %.1f MB: %d of %d machine.workers read patches; make it larger "
            "(docker --shm-size) where the training waits for data",
            folder, free / 1e6, batch_bytes / 1e6, readers, wanted,
        )  # fmt: skip
    return readers
