"""How long a run takes: its jobs in the order of their files, on a limited number of GPUs; queues are not known."""

import heapq
from collections.abc import Sequence

from meddiff.planning.jobs import Job


def elapsed_seconds(jobs: Sequence[Job], seconds: Sequence[float], gpus: float) -> float:
    """Return the time from the first job's start to the last one's end.

    A job starts when those that make its inputs have ended and its GPUs are free; of several that could start, the one
    comes first that is first in the graph. Cores are not counted.

    Args:
        jobs: in any order.
        seconds: of each job.
        gpus: how many there are; a job that asks for more gets all.
    """
    maker = {path: number for number, job in enumerate(jobs) for path in job.outputs}
    waits_for = [{maker[path] for path in job.inputs if path in maker} for job in jobs]
    followers: list[list[int]] = [[] for _ in jobs]
    for number, needed in enumerate(waits_for):
        for other in needed:
            followers[other].append(number)
    ready = [number for number, needed in enumerate(waits_for) if not needed]
    running: list[tuple[float, int]] = []
    now, free = 0.0, gpus
    while ready or running:
        for number in sorted(ready):
            needs = min(jobs[number].gpus, gpus)
            if needs <= free:
                free -= needs
                ready.remove(number)
                heapq.heappush(running, (now + seconds[number], number))
        now, ended = heapq.heappop(running)
        free += min(jobs[ended].gpus, gpus)
        for number in followers[ended]:
            waits_for[number].discard(ended)
            if not waits_for[number]:
                ready.append(number)
    return now
