"""Locks between real processes: who holds one is told, and none outlives its process."""

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from meddiff.errors import UserError
from meddiff.machine.kernel_lock import holder, release, try_hold
from meddiff.machine.locks import locked

HOLD = """
import sys, time
from pathlib import Path
from meddiff.machine.locks import hold
hold(Path(sys.argv[1]), "it")
{then}
print("held", flush=True)
time.sleep(60)
"""
FORK = """
import ctypes, os
if {fork}() == 0:
    os.close(1)
    time.sleep({seconds})
    os._exit(0)
"""
FORKS = ("os.fork", "ctypes.CDLL(None).fork")  # the second: a child that has not come to run anything of ours


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
            assert holder(tmp_path / "lock").startswith(f"process {os.getpid()} of ")


@pytest.mark.parametrize("fork", FORKS)
def test_a_forked_reader_does_not_keep_the_lock_of_a_killed_process(tmp_path, fork):
    with another_process(tmp_path / "lock", then=FORK.format(fork=fork, seconds=60)) as other:
        assert try_hold(tmp_path / "lock") is None
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        os.killpg(other.pid, 0)  # the reader lives on
        with locked(tmp_path / "lock", "it"):
            pass


@pytest.mark.parametrize("fork", FORKS)
def test_the_end_of_a_forked_reader_does_not_give_the_lock_back(tmp_path, fork):
    with another_process(tmp_path / "lock", then=FORK.format(fork=fork, seconds=0) + "os.wait()"):
        assert try_hold(tmp_path / "lock") is None


def test_looking_at_a_lock_that_this_process_holds_does_not_give_it_back(tmp_path):
    with locked(tmp_path / "lock", "it"):
        assert holder(tmp_path / "lock").startswith(f"process {os.getpid()} of ")
        assert try_hold(tmp_path / "lock") is None
        command = [sys.executable, "-c", HOLD.format(then=""), str(tmp_path / "lock")]
        refused = subprocess.run(command, capture_output=True, text=True)
    assert f"it is in use by process {os.getpid()} of " in refused.stderr


def test_threads_do_not_share_a_lock(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        held = list(threads.map(try_hold, [tmp_path / "lock"] * 8))
    (lock,) = [lock for lock in held if lock is not None]
    release(lock)


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
