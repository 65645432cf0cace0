"""A user without home folder: libraries get one while the program runs, and nothing that shall stay goes there."""

import pwd
from pathlib import Path

import pytest

from meddiff.datasets.download import cache_dir
from meddiff.errors import UserError
from meddiff.machine.home import stand_in_home


@pytest.fixture
def homeless(monkeypatch):
    def nobody(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "MEDDIFF_CACHE", "MEDDIFF_STAND_IN_HOME"):
        monkeypatch.setenv(name, "")  # so that what the program sets is taken back
        monkeypatch.delenv(name)


def test_libraries_find_a_home_folder_that_is_gone_afterwards(homeless):
    with pytest.raises(RuntimeError):
        Path.home()
    with stand_in_home():
        home = Path.home()
        assert home.is_dir()
        assert not list(home.iterdir())
    assert not home.exists()


def test_what_is_downloaded_needs_a_place_that_stays(homeless, monkeypatch, tmp_path):
    with stand_in_home():
        with pytest.raises(UserError, match="no home folder; set MEDDIFF_CACHE"):
            cache_dir()
        monkeypatch.setenv("MEDDIFF_CACHE", str(tmp_path))
        assert cache_dir() == tmp_path


def test_a_users_own_home_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MEDDIFF_CACHE", raising=False)
    with stand_in_home():
        assert Path.home() == tmp_path
        assert cache_dir() == tmp_path / ".cache" / "meddiff"
