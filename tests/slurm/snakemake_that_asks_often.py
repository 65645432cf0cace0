"""Snakemake, but for how often it asks SLURM: the plugin waits 10 seconds longer after every answer, a test cannot."""

import sys
from collections.abc import AsyncIterator

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

SECONDS = 2
check_active_jobs = Executor.check_active_jobs


async def check_often(self: Executor, active_jobs: list) -> AsyncIterator:
    async for job in check_active_jobs(self, active_jobs):
        yield job
    self.next_seconds_between_status_checks = SECONDS


if __name__ == "__main__":
    Executor.check_active_jobs = check_often  # type: ignore[method-assign]
    main(sys.argv[1:])
