"""Locks between real processes: who holds one is told, and none outlives its process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from meddiff.errors import UserError
from meddiff.locks import locked, try_hold

HOLD = """
import sys, time
from pathlib import Path
from meddiff.locks import hold
hold(Path(sys.argv[1]), "it")
{then}
print("held", flush=True)
time.sleep(60)
"""
FORK = """
import os
if os.fork() == 0:
    os.close(1)
    time.sleep(60)
    os._exit(0)
"""


@contextmanager
def another_process(path, then=""):
    command = [sys.executable, "-c", HOLD.format(then=then), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_second_process_is_told_who_holds_the_lock(tmp_path):
    path = tmp_path / "run" / "lock"
    with another_process(path) as other:
        with pytest.raises(UserError) as refused, locked(path, "pretrain: runs/x"):
            pass
        (line,) = str(refused.value).splitlines()
        assert line.startswith(f"pretrain: runs/x is in use by process {other.pid} of ")
        assert f" on {socket.gethostname()} since " in line
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; wait for it or end it$", line)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    with another_process(tmp_path / "lock") as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with locked(tmp_path / "lock", "it"):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_forked_reader_does_not_keep_the_lock_of_a_killed_process(tmp_path):
    with another_process(tmp_path / "lock", then=FORK) as other:
        assert try_hold(tmp_path / "lock") is None
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        os.killpg(other.pid, 0)  # the reader lives on
        with locked(tmp_path / "lock", "it"):
            pass


def test_a_lock_can_be_taken_again_when_it_was_given_back(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "lock", "it"):
            assert try_hold(tmp_path / "lock") is None
    assert (tmp_path / "lock").read_text() == ""


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        try_hold(tmp_path / "lock")
    assert (tmp_path / "target").read_text() == "precious"
