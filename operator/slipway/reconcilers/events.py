"""Tells people what happened, as Kubernetes Events; whoever has something to tell never waits for it."""

import asyncio
import logging
import socket
from datetime import UTC, datetime
from time import monotonic

from slipway.api.kinds import EVENT, Kind
from slipway.api.meta import ObjectMeta
from slipway.builders import event as builder
from slipway.builders.event import Notice
from slipway.cluster import Cluster
from slipway.errors import AlreadyExists, ApiError
from slipway.metrics import EVENTS_DROPPED

log = logging.getLogger(__name__)

ROOM = 1000  # notices that wait; what comes then is dropped
PAUSE = 0.1  # seconds between two writes: Events must not crowd out the writes that matter
COMPLAINT_SECONDS = 60.0  # between two lines in the log

Entry = tuple[Kind, ObjectMeta, Notice, datetime]


class Recorder:
    """Writes Events one after the other, at its leisure. Best effort: what cannot be written is counted and gone."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._instance = socket.gethostname()
        self._waiting: asyncio.Queue[Entry] = asyncio.Queue(ROOM)
        self._lost = 0  # since the last line in the log
        self._silent_until = 0.0  # monotonic

    def tell(self, kind: Kind, metadata: ObjectMeta, notice: Notice) -> None:
        """Never fails, never blocks. Telling the same again changes nothing, also after a restart."""
        try:
            self._waiting.put_nowait((kind, metadata, notice, datetime.now(UTC)))
        except asyncio.QueueFull:
            self._drop(f"{ROOM} of them wait already")

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._write(*await self._waiting.get())
            await asyncio.sleep(PAUSE)

    async def _write(self, kind: Kind, metadata: ObjectMeta, notice: Notice, when: datetime) -> None:
        try:
            body = builder.build(kind, metadata, notice, when, self._instance)
            await self._cluster.create(EVENT, body, metadata.namespace)
        except AlreadyExists:
            return
        except ApiError as error:
            self._drop(str(error))
        except Exception as error:  # whatever it is, to tell of things must not end what does them
            self._drop(f"telling of {kind.singular} {metadata.name} broke", error)

    def _drop(self, why: str, error: Exception | None = None) -> None:
        EVENTS_DROPPED.inc()
        self._lost += 1
        if monotonic() >= self._silent_until:
            log.warning("lost %d Event(s): %s", self._lost, why, exc_info=error)
            self._lost, self._silent_until = 0, monotonic() + COMPLAINT_SECONDS
