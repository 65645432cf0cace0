"""The process that tests fork others from."""

import os
from pathlib import Path

import pytest

from tests.forked import run_forked


def print_threads_of_parent() -> None:
    print(*(path.read_text().strip() for path in Path(f"/proc/{os.getppid()}/task").glob("*/comm")))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted by /proc")
def test_it_has_one_thread(tmp_path):
    """Of a second one a fork may keep the locks, and wait for them for ever."""
    program = f"{__name__}:{print_threads_of_parent.__name__}"
    done = run_forked(program, ["threads"], tmp_path, os.environ)
    assert len(done.stdout.split()) == 1, done.stdout + done.stderr
