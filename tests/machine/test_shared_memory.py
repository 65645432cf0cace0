"""Processes that read patches are as many as the shared memory has room for."""

import shutil
from collections import namedtuple

import pytest

from meddiff.machine.shared_memory import readers_with_room

Usage = namedtuple("Usage", "free")
MB = 10**6


@pytest.mark.parametrize(
    ("free_mb", "trainings", "readers"),
    [(1000, 1, 4), (10, 1, 4), (9, 1, 3), (4, 1, 1), (3, 1, 0), (0, 1, 0), (40, 4, 4), (16, 4, 1)],
)
def test_as_many_read_as_have_room_for_their_batches(monkeypatch, tmp_path, caplog, free_mb, trainings, readers):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free_mb * MB))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(trainings))
    assert readers_with_room(4, MB, tmp_path) == readers
    assert (f"{readers} of 4 machine.workers" in caplog.text) == (readers < 4)


def test_where_nothing_is_wanted_or_shared_nothing_is_counted(tmp_path):
    assert readers_with_room(0, MB, tmp_path) == 0
    assert readers_with_room(3, MB, tmp_path / "none") == 3
