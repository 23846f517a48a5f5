"""All deadlines of one kind in one heap; rebuilt from the resources at start."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime

LONGEST_SLEEP = 30.0  # seconds; the clock may be set meanwhile


class Deadlines:
    """Calls `due(key)` once when a key's time has come. A key has one deadline, the one set last."""

    def __init__(self, due: Callable[[str], None]) -> None:
        self._due = due
        self._heap: list[tuple[datetime, str]] = []
        self._current: dict[str, datetime] = {}
        self._changed = asyncio.Event()

    def set(self, key: str, when: datetime) -> None:
        if self._current.get(key) != when:
            self._current[key] = when
            heapq.heappush(self._heap, (when, key))
            if len(self._heap) > 2 * len(self._current) + 64:  # mostly entries that were moved or dropped
                self._heap = sorted((when, key) for key, when in self._current.items())
            self._changed.set()

    def drop(self, key: str) -> None:
        self._current.pop(key, None)

    async def run(self) -> None:
        """Watch the clock until cancelled."""
        while True:
            self._changed.clear()
            self._fire()
            left = (self._heap[0][0] - datetime.now(UTC)).total_seconds() if self._heap else LONGEST_SLEEP
            try:
                async with asyncio.timeout(min(max(left, 0), LONGEST_SLEEP)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _fire(self) -> None:
        now = datetime.now(UTC)
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._current.get(key) == when:  # else it was moved or dropped
                del self._current[key]
                self._due(key)
