"""Who leads: one Lease, kept by renewing it, and lost by the clock."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from slipway.api.kinds import LEASE
from slipway.api.meta import Object
from slipway.cluster import Cluster
from slipway.errors import AlreadyExists, ApiError, Conflict, NotFound

log = logging.getLogger(__name__)

NAME = "slipway-operator"
SAFE_SHARE = 0.8  # of its duration a lease is used; the rest is for writes under way and clocks that differ
RENEWALS = 5  # in one duration
LOOKS = 10  # of a standby in one duration

Clock = Callable[[], float]


def boottime() -> float:
    """Seconds that go on while the process, or the whole machine, is suspended. Nobody can set them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """A place at the head of the queue, in the manner of client-go, but for `held`, which no await comes before.

    A standby takes over when the record has not changed for a whole duration by its own clock; clocks of two machines
    are never compared. cluster: a connection of its own, whose calls take a fraction of the duration.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, identity: str, seconds: float, clock: Clock = boottime
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._record: Object = {}  # as last seen
        self._seen_at = 0.0
        self._until = 0.0
        self._informed_at = float("-inf")

    def informed(self) -> bool:
        """Whether we know, as of less than a duration ago, who leads."""
        return self._clock() < self._informed_at + self._seconds

    def held(self) -> bool:
        """Whether we lead, now."""
        return self._clock() < self._until

    async def acquire(self) -> None:
        """Come back as the leader."""
        while True:
            try:
                if await self._try():
                    log.info("leading as %s", self._identity)
                    return
            except (AlreadyExists, Conflict):
                log.debug("another one was faster")
            except ApiError as error:
                log.warning("cannot look at the lease %s: %s", NAME, error)
            await asyncio.sleep(self._seconds / LOOKS)

    async def keep(self) -> None:
        """Renew it; come back when it is lost."""
        while self.held():
            await asyncio.sleep(self._seconds / RENEWALS)
            try:
                await self._renew()
            except ApiError as error:
                log.warning("cannot renew the lease %s: %s", NAME, error)
        log.warning("no longer leading: the lease %s is lost", NAME)

    async def release(self) -> None:
        """Let a standby take over at once."""
        if not self.held():
            return
        self._until = 0.0
        try:
            await self._write(self._record, self._spec(holder=""))
        except ApiError as error:
            log.warning("cannot give the lease %s back, it runs out by itself: %s", NAME, error)

    async def _try(self) -> bool:
        try:
            record = await self._cluster.get(LEASE, NAME, self._namespace)
        except NotFound:
            if self._record and self._clock() < self._seen_at + self._seconds:
                return False  # deleted by hand: whoever led finds out when it renews
            await self._write({}, self._spec(self._identity, transitions=0))
            return True
        self._see(record)
        spec = record.get("spec", {})
        if spec.get("holderIdentity") not in (None, "", self._identity):  # ours: the answer to our write was lost
            runs_out = self._seen_at + spec.get("leaseDurationSeconds", self._seconds)
            if self._clock() < runs_out:
                return False
        await self._write(record, self._spec(self._identity, transitions=spec.get("leaseTransitions", 0) + 1))
        return True

    async def _renew(self) -> None:
        try:
            await self._write(self._record, self._record["spec"] | {"renewTime": _micro_time()})
        except (Conflict, NotFound):  # edited, deleted or taken; what is still ours is renewed at the next turn
            self._see(await self._cluster.get(LEASE, NAME, self._namespace))
            if self._record.get("spec", {}).get("holderIdentity") != self._identity:
                self._until = 0.0

    async def _write(self, record: Object, spec: Object) -> None:
        """Ours from the moment we asked, not from when the answer came."""
        asked = self._clock()
        if record:
            self._see(await self._cluster.update(LEASE, record | {"spec": spec}))
        else:
            body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": {"name": NAME}, "spec": spec}
            self._see(await self._cluster.create(LEASE, body, self._namespace))
        self._until = asked + SAFE_SHARE * self._seconds if spec["holderIdentity"] else 0.0

    def _see(self, record: Object) -> None:
        """Take in the record; one that has changed runs from now on."""
        self._informed_at = self._clock()
        if record["metadata"]["resourceVersion"] != self._record.get("metadata", {}).get("resourceVersion"):
            self._seen_at = self._informed_at
        self._record = record

    def _spec(self, holder: str, transitions: int | None = None) -> Object:
        now = _micro_time()
        spec: Object = {"holderIdentity": holder, "leaseDurationSeconds": round(self._seconds), "renewTime": now}
        if transitions is None:
            return {**self._record["spec"], **spec}
        return spec | {"acquireTime": now, "leaseTransitions": transitions}


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
