"""Progress: lines, or a watcher of one thread."""

import threading

import pytest

from meddiff.machine.progress import showing, watched_by


def test_a_watcher_is_told_of_every_step_in_place_of_lines(caplog):
    caplog.set_level("INFO", "meddiff")
    told = []
    with watched_by(lambda *step: told.append(step)):
        on_step = showing("work")
        on_step(1, 2)
        on_step(2, 2)
    assert told == [("work", 1, 2), ("work", 2, 2)]
    assert not caplog.messages
    showing("work")(1, 1)
    assert caplog.messages


def test_what_a_watcher_raises_ends_the_work():
    def stop(*_):
        raise KeyboardInterrupt

    with watched_by(stop), pytest.raises(KeyboardInterrupt):
        showing("work")(1, 2)


def test_another_thread_has_its_own():
    told = []
    with watched_by(lambda *_: told.append("wrong")):
        thread = threading.Thread(target=lambda: showing("work")(1, 1))
        thread.start()
        thread.join()
    assert not told
