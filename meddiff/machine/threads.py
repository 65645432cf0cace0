"""How many threads this process may use."""

import os


def available_threads() -> int:
    """Return OMP_NUM_THREADS, which Snakemake and torchrun set, but no more than there are cores for this process."""
    cores = len(os.sched_getaffinity(0))
    meant = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(int(meant), cores)) if meant.isdigit() else cores
