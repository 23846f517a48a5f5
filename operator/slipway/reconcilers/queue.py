"""The work queue of one kind."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import SystemRandom
from time import perf_counter

from slipway.errors import ApiError, Conflict, NotFound
from slipway.metrics import Meter

log = logging.getLogger(__name__)

FIRST_DELAY = 0.1  # seconds
LONGEST_DELAY = 30.0
RANDOM = SystemRandom()

Reconcile = Callable[[str], Awaitable[None]]


class WorkQueue:
    """Keys to reconcile: each waits at most once, is never worked on twice at once, and backs off when it fails.

    A key added while it is worked on is worked on once more.
    kind: what the keys are of, for the figures.
    """

    def __init__(self, workers: int, kind: str) -> None:
        self._workers = workers
        self._meter = Meter(kind)
        self._waiting: dict[str, float] = {}  # in order; since when
        self._active: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._wakeup = asyncio.Semaphore(0)
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def active(self) -> int:
        return len(self._active)

    def add(self, key: str) -> None:
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = perf_counter()
            self._wakeup.release()

    def close(self) -> None:
        """Take up nothing more; `run` ends when what is under way is done."""
        self._closed = True
        for _ in range(self._workers):
            self._wakeup.release()

    async def run(self, reconcile: Reconcile) -> None:
        """Work until closed or cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work(reconcile))

    async def _work(self, reconcile: Reconcile) -> None:
        while True:
            await self._wakeup.acquire()
            if self._closed:
                return
            key = next(iter(self._waiting))
            started = self._meter.taken(self._waiting.pop(key))
            self._active.add(key)
            try:
                await reconcile(key)
                self._failures.pop(key, None)
                self._meter.ended(started, None)
            except Exception as error:
                self._meter.ended(started, error)
                self._back_off(key, error)
            finally:
                self._active.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    def _back_off(self, key: str, error: Exception) -> None:
        """Try again later: 0.1 s, 0.2 s, … 30 s, give or take a fifth so that keys do not march in step."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(FIRST_DELAY * 2 ** min(count - 1, 16), LONGEST_DELAY) * RANDOM.uniform(0.8, 1.2)
        match error:
            case Conflict() | NotFound():  # we acted on an old view; the watch is about to bring the new one
                log.debug("%s changed meanwhile, again in %.1f s", key, delay)
            case ApiError():
                log.warning("cannot reconcile %s, again in %.1f s: %s", key, delay, error)
            case _:
                log.error("reconciling %s broke, again in %.1f s", key, delay, exc_info=error)
        asyncio.get_running_loop().call_later(delay, self.add, key)
