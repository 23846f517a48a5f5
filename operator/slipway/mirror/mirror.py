"""The mirror's task: compare the Stacks with the table, write the difference, forever."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from slipway.api.meta import Object
from slipway.errors import InvalidInput, MirrorError, MirrorThrottled
from slipway.mirror.changes import Change, Desired
from slipway.mirror.item import digest, uid_of
from slipway.settings import Settings

log = logging.getLogger(__name__)

TURN_SECONDS = 1.0  # between two comparisons
READ_SECONDS = 600.0  # after so long the table is read again: someone may have changed it
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0  # seconds until the next try after a failure
RESEND_DELAYS = (0.1, 0.4, 1.6)  # seconds; for what DynamoDB had no room for

T = TypeVar("T")

_UNSURE = b""  # of an item whose write has begun: equal to no digest, and no reason to think that it is not there


class Mirror:
    """Keeps the table as the Stacks are, as long as this operator leads.

    behind: how many items differ from what they should be, as far as is known. last_success: when the table
    was last found or made equal, in seconds since the epoch; None: never yet.
    """

    def __init__(
        self, settings: Settings, stacks: Callable[[], Iterable[Object]], may_write: Callable[[], bool]
    ) -> None:
        """Raises InvalidInput where the settings name no table, or no region can be found.

        stacks: all that there are; an item without its Stack is removed, so the list must be complete from the first
        call on. may_write: whether this operator leads; asked before each write.
        """
        if not settings.ddb_stack_table:
            raise InvalidInput("DDB_STACK_TABLE", "must name the table")
        # boto3 is 20 MB: only who has a table pays for it
        from slipway.mirror.table import BATCH, Table  # noqa: PLC0415

        self.behind = 0
        self.last_success: float | None = None
        self._stacks = stacks
        self._may_write = may_write
        self._batch = BATCH
        self._table = Table(settings.ddb_stack_table, settings.aws_region, settings.stack_namespace)
        self._desired = Desired(settings.stack_namespace)
        self._known: dict[str, bytes] = {}
        self._read_at: float | None = None
        self._delay = 0.0
        self._told: set[str] = set()

    async def run(self) -> None:
        """Compare and write until cancelled; whatever fails is tried again."""
        self._read_at = None  # what another leader wrote meanwhile is not known
        try:
            while True:
                pause = await self._try()
                await asyncio.sleep(pause)
        finally:
            self.behind = 0
            self._table.close()

    async def _try(self) -> float:
        """One turn; returns the seconds until the next."""
        try:
            done = await self._turn()
        except Exception as error:  # whatever it is: the operator goes on without its mirror
            return self._failed(error)
        self._delay = 0.0
        if done:
            self._succeeded()
        else:
            self._read_at = None  # what another leader writes meanwhile is not known
        return TURN_SECONDS

    async def _turn(self) -> bool:
        """Whether the table is now as it should be; False: another operator leads."""
        if not self._may_write():
            self.behind = 0
            return False
        if self._read_at is None or time.monotonic() - self._read_at > READ_SECONDS:
            await self._compare()  # `behind` speaks the truth though the table may not answer
            self._known = await self._read()
            self._read_at = time.monotonic()
        return await self._write(await self._compare())

    async def _compare(self) -> list[Change]:
        await self._desired.update(self._stacks())
        changes = self._desired.changes(self._known)
        self.behind = len(changes)
        return changes

    async def _read(self) -> dict[str, bytes]:
        """Digests of what the table holds of ours, by UID."""
        found: dict[str, bytes] = {}
        after = None
        while True:
            items, after = await asyncio.to_thread(self._table.read, after)
            found.update({uid_of(item): digest(item) for item in items})
            if after is None:
                return found

    async def _write(self, changes: list[Change]) -> bool:
        """Whether all was written; False: another operator leads now."""
        for start in range(0, len(changes), self._batch):
            left = changes[start : start + self._batch]
            for delay in (0.0, *RESEND_DELAYS):
                await asyncio.sleep(delay)
                if not self._may_write():
                    return False
                left = await self._send(left)
                if not left:
                    break
            else:
                raise MirrorThrottled(self._table.full)
        return True

    async def _send(self, changes: list[Change]) -> list[Change]:
        """Returns what DynamoDB had no room for."""
        self._known.update({change.uid: _UNSURE for change in changes})
        left = await _finished(self._table.write, changes)
        for change in changes:
            if change.uid in left:
                continue
            self.behind -= 1
            if change.digest is None:
                del self._known[change.uid]
            else:
                self._known[change.uid] = change.digest
        return [change for change in changes if change.uid in left]

    def _failed(self, error: Exception) -> float:
        """Tell each trouble once until it is over; returns the seconds until the next try."""
        if not isinstance(error, MirrorThrottled):  # then nothing happened that is not known
            self._read_at = None
        if str(error) not in self._told:
            known = isinstance(error, MirrorError)
            log.warning("the mirror falls behind, and keeps trying: %s", error, exc_info=None if known else error)
            self._told.add(str(error))
        self._delay = min(self._delay * 2, LONGEST_DELAY) if self._delay else FIRST_DELAY
        return self._delay

    def _succeeded(self) -> None:
        self.last_success = time.time()
        if self._told:
            log.info("the mirror has caught up")
            self._told.clear()


async def _finished(call: Callable[..., T], *given: Any) -> T:
    """A write in a thread, to its end: what landed after a cancellation would be unknown to whoever leads next."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *given))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
