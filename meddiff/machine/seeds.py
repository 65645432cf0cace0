"""Seeds made of several numbers, so that every draw has its own and needs no state."""

import numpy as np

from meddiff.machine.files import digest


def seed_from(*numbers: int) -> int:
    """Return a seed for torch's generators, 0 to 2^63 - 1, that differs for every tuple of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seed_of(seed: int, name: str) -> int:
    """Return the seed of what is drawn under this name."""
    return int(digest([seed, name]), 16) >> 1
