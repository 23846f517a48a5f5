"""Waiting in one event loop for what will be, never for how long it may take (`eventually` is for other processes)."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], T], seconds: float = 3.0) -> T:
    """What `look` returns as soon as it is true; its last AssertionError, or ours, after `seconds`."""
    end = monotonic() + seconds
    while True:
        try:
            found = look()
            if found:
                return found
            failure = AssertionError(f"not within {seconds:g} s: {found!r}")
        except AssertionError as error:
            failure = error
        if monotonic() > end:
            raise failure
        await asyncio.sleep(0.002)
