"""One `up`, `down` or `restart` at a time on this machine."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tests.testbed.paths import Paths
from tests.testbed.progress import Progress

POLL_S = 0.2


@contextmanager
def machine_lock(paths: Paths, progress: Progress) -> Iterator[None]:
    """Hold the machine's lock; the kernel drops that of whoever is killed. Its holder may remove the file."""
    file = _try(paths)
    if file is None:
        with progress.step("waiting for another `up` or `down`"):
            while file is None:
                time.sleep(POLL_S)
                file = _try(paths)
    with file:
        yield


def _try(paths: Paths) -> TextIO | None:
    file = paths.lock_file.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A file that was removed meanwhile locks nothing: others open a new one.
        if paths.lock_file.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None
