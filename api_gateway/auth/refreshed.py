"""Something read again and again, by one task alone: regularly, and sooner for whoever waits for what is new."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

WAIT_SECONDS = 2.0
"""The most that a request waits for it."""


class Refreshed:
    """read: returns the seconds until the next time. pause: seconds between two times, however many ask."""

    def __init__(self, read: Callable[[], Awaitable[float]], pause: float) -> None:
        self._read = read
        self._pause = pause
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []  # for the next time
        self._during: list[asyncio.Future[None]] | None = None  # for the end of the one under way
        self._next = 0.0  # by the loop's clock: not before

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            self._during = waiting
            self._next = loop.time() + self._pause
            regular = await self._read()
            self._during = None
            for told in waiting:
                if not told.done():
                    told.set_result(None)
            self._next = max(self._next, loop.time())
            await asyncio.sleep(self._next - loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(regular - self._pause):
                    await self._asked.wait()

    async def fresh(self) -> None:
        """Come back after a read that began later than this call; where that is too far away, after one under way."""
        self._asked.set()
        loop = asyncio.get_running_loop()
        waiting = self._waiting if self._next <= loop.time() + WAIT_SECONDS else self._during
        if waiting is None:
            return
        told = loop.create_future()
        waiting.append(told)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await told
