"""A home folder for users without one, as a container that is started with a bare user number has them.

Libraries ask for it as soon as they are imported, and few say what they want with it.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meddiff.errors import UserError

STAND_IN = "MEDDIFF_STAND_IN_HOME"


@contextmanager
def stand_in_home() -> Iterator[None]:
    """Set HOME to an empty folder that lasts as long as the context, where this user has no home folder."""
    try:
        Path.home()
    except RuntimeError:
        with tempfile.TemporaryDirectory(prefix="meddiff-home-") as folder:
            os.environ["HOME"] = os.environ[STAND_IN] = folder
            yield
    else:
        yield


def user_cache_dir() -> Path:
    """Return the user's cache folder.

    Raises:
        UserError: the user has none; what is put there is to be found again.
    """
    told = os.environ.get("XDG_CACHE_HOME")
    if not told and STAND_IN in os.environ:
        raise UserError(
            "this user has no home folder; set MEDDIFF_CACHE to a folder for the weights and scans that are downloaded"
        )
    return Path(told) if told else Path.home() / ".cache"
