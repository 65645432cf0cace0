"""The workflow with jobs that sleep for a second instead of working, and of which one in fifty fails."""

import random
import time
from pathlib import Path

SECONDS, FAILING = 1, 0.02


include: "../Snakefile"


def sleep(input, output, *more):
    """Take the place of a rule's command."""
    time.sleep(SECONDS)
    if random.random() < FAILING:
        raise RuntimeError("one of the jobs that shall fail")
    for path in map(Path, output):
        path.touch() if path.suffix else path.mkdir()  # a folder of figures


for each in workflow.rules:
    if not each.norun:
        each.run_func, each._benchmark = sleep, None
