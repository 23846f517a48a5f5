"""The watch cache: every resource of one kind, as the API server has it, and the writes that go there."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from time import monotonic
from uuid import uuid4

from slipway.api.kinds import Kind
from slipway.api.meta import REQUEST, Object, ObjectMeta
from slipway.cache import REMEMBERED, ObjectCache
from slipway.cluster import WATCH_SILENCE_SECONDS, Cluster
from slipway.errors import ApiError, Gone, NotFound, Throttled, Unavailable

log = logging.getLogger(__name__)

Render = Callable[[Object], bytes]
"""Makes an answer of a resource, and of nothing else."""

RECONNECT_SECONDS = 1.0
LIST_CALLS = 30  # pages that a list may have, if the API server takes as long as it may for each
GONE_SECONDS = 5.0  # a deleted resource is out of the cache much sooner, unless the watch is behind


class Store:
    """Reads come from memory; a read that follows a write through this store sees that write.

    A resource that is being deleted is hidden.
    """

    def __init__(self, cluster: Cluster, kind: Kind, namespace: str, call_seconds: float) -> None:
        """call_seconds: the most that one call to the API server takes."""
        self.kind = kind
        self._cluster = cluster
        self._namespace = namespace
        self._cache = ObjectCache()
        self._rendered: dict[str, tuple[str, dict[Render, bytes]]] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._abandoned: dict[str, None] = {}  # an ordered set
        self._removals: set[asyncio.Task[None]] = set()
        self._call_seconds = call_seconds
        self._heard_by = math.inf
        self.synced = False
        """Whether the watch runs; if not, reads may be old."""

    def __len__(self) -> int:
        return len(self._cache)

    @property
    def overdue(self) -> float:
        """For how many seconds the watch should have given a sign of life; 0 where it has, or may still be silent."""
        return max(0.0, monotonic() - self._heard_by)

    def get(self, uid: str) -> Object | None:
        resource = self._cache.get(uid)
        return None if resource is None or "deletionTimestamp" in resource["metadata"] else resource

    def __iter__(self) -> Iterator[Object]:
        """Oldest first."""
        present = (r for r in self._cache if "deletionTimestamp" not in r["metadata"])
        return iter(sorted(present, key=lambda r: (r["metadata"]["creationTimestamp"], r["metadata"]["name"])))

    def rendered(self, resource: Object, render: Render) -> bytes:
        """What `render` makes of it, made once for each version."""
        metadata = resource["metadata"]
        version, views = self._rendered.get(metadata["uid"], ("", {}))
        if version != metadata["resourceVersion"]:
            views = {}
            self._rendered[metadata["uid"]] = (metadata["resourceVersion"], views)
        if render not in views:
            views[render] = render(resource)
        return views[render]

    async def create(self, resource: Object) -> Object:
        """Create it; raises AlreadyExists and the other ApiErrors, and then nothing stays that was made."""
        token = uuid4().hex
        resource["metadata"].setdefault("annotations", {})[REQUEST] = token
        try:
            made = await self._cluster.create(self.kind, resource, self._namespace)
        except NotFound as error:
            raise Unavailable(f"{self.kind.plural} are not installed in the cluster: {error}") from error
        except Throttled:
            raise  # the server has not seen it
        except Unavailable:
            self._abandon(token)  # it may have been made all the same: then the watch brings it, or has
            for known in list(self._cache):
                self._remove_abandoned(known)
            raise
        self._cache.put(made)
        return made

    async def patch(self, resource: Object, changes: Object) -> Object:
        """Merge `changes` into this version of it; Conflict if there is another one by now."""
        metadata = ObjectMeta.model_validate(resource["metadata"])
        guard = {"metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version}}
        patched = await self._cluster.patch(self.kind, metadata, guard | changes)
        self._cache.put(patched)
        self._wake(patched)
        return patched

    async def delete(self, resource: Object) -> None:
        """Delete it, and come back when reads no longer show it."""
        metadata = ObjectMeta.model_validate(resource["metadata"])
        await self._cluster.delete(self.kind, metadata)
        try:
            await self.wait_for(metadata.uid, lambda seen: seen is None, GONE_SECONDS)
        except TimeoutError:
            self._cache.remove(resource)
            self._wake(resource)

    def remove(self, resource: Object) -> None:
        """Delete it in the background, and try until it works."""
        removal = asyncio.create_task(self._delete_at_last(resource))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def finish(self, seconds: float) -> None:
        """Give what is being removed in the background that long to be gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._removals:
                    await asyncio.wait(self._removals)
        left = list(self._removals)
        for removal in left:
            removal.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if left:
            log.error("%d %s could not be removed before the end", len(left), self.kind.plural)

    async def _delete_at_last(self, resource: Object) -> None:
        while True:
            try:
                return await self.delete(resource)
            except ApiError as error:
                log.warning(
                    "cannot delete %s, again in %g s: %s", resource["metadata"]["name"], RECONNECT_SECONDS, error
                )
                await asyncio.sleep(RECONNECT_SECONDS)

    async def wait_for(self, uid: str, done: Callable[[Object | None], bool], seconds: float) -> Object | None:
        """The resource (None: deleted) as soon as `done` says so of it; TimeoutError after `seconds`."""
        async with asyncio.timeout(seconds):
            while not done(seen := self.get(uid)):
                changed = asyncio.get_running_loop().create_future()
                self._waiting.setdefault(uid, []).append(changed)
                await changed
        return seen

    async def run(self) -> None:
        """Keep the cache until cancelled: list, then watch; list again when the watch has lost the thread."""
        version = ""
        while True:
            next_try = asyncio.get_running_loop().time() + RECONNECT_SECONDS
            try:
                if not version:
                    self._heard(LIST_CALLS * self._call_seconds)
                    version = await self._list()
                    self.synced = True
                self._heard(self._watch_seconds)
                async for change, resource in self._cluster.watch(self.kind, self._namespace, version):
                    version = resource["metadata"]["resourceVersion"]
                    self._heard(self._watch_seconds)
                    self._take(change, resource)
            except Gone:
                version = ""
            except ApiError as error:
                self.synced, version = False, ""
                log.warning("the watch of %s is down, again in %g s: %s", self.kind.plural, RECONNECT_SECONDS, error)
            await asyncio.sleep(next_try - asyncio.get_running_loop().time())  # a watch that lasted is opened at once

    @property
    def _watch_seconds(self) -> float:
        """How long a watch may say nothing; it may also have to connect, to find the name and to get a token for it."""
        return WATCH_SILENCE_SECONDS + 3 * self._call_seconds

    def _heard(self, next_within: float) -> None:
        """A sign of life; the next one comes within so many seconds, or something hangs."""
        self._heard_by = monotonic() + next_within

    async def _list(self) -> str:
        resources, version = await self._cluster.list(self.kind, self._namespace)
        gone, fresh = self._cache.replace(resources, version)
        for resource in gone + fresh:
            self._remove_abandoned(resource)
            self._wake(resource)
        return version

    def _take(self, change: str, resource: Object) -> None:
        if change == "BOOKMARK":
            return
        if change == "DELETED":
            self._cache.remove(resource)
        else:
            self._cache.put(resource)
            self._remove_abandoned(resource)
        self._wake(resource)

    def _abandon(self, token: str) -> None:
        self._abandoned[token] = None
        if len(self._abandoned) > REMEMBERED:
            del self._abandoned[next(iter(self._abandoned))]

    def _remove_abandoned(self, resource: Object) -> None:
        """Delete what came of a create whose answer was lost: the client was told that it failed."""
        token = resource["metadata"].get("annotations", {}).get(REQUEST)
        if token in self._abandoned:
            del self._abandoned[token]
            self.remove(resource)

    def _wake(self, resource: Object) -> None:
        self._rendered.pop(resource["metadata"]["uid"], None)
        for waiting in self._waiting.pop(resource["metadata"]["uid"], []):
            if not waiting.done():
                waiting.set_result(None)
