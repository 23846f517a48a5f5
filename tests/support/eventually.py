"""Wait for conditions, not for seconds."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T | None], seconds: float = 60.0, pause: float = 0.1) -> T:
    """The first truthy result of `check`; its last AssertionError, or result, is told when time runs out."""
    deadline = time.monotonic() + seconds
    while True:
        failure: AssertionError | None = None
        found = None
        try:
            found = check()
        except AssertionError as error:
            failure = error
        if found:
            return found
        if time.monotonic() > deadline:
            raise failure or AssertionError(f"still {found!r} after {seconds:g} s")
        time.sleep(pause)
