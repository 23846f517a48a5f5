"""One kind's machinery: caches, queue, deadlines and sweep around its reconciler."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import ClassVar, Protocol

from prometheus_client.core import Metric

from slipway.api.kinds import Kind
from slipway.api.meta import Object, ObjectMeta
from slipway.builders.meta import MANAGED_BY, MANAGER, UID, label_of
from slipway.cache import ObjectCache, View, owner_uid
from slipway.cluster import Cluster
from slipway.errors import ApiError, Gone, NotFound
from slipway.metrics import CONTROLLERS, MISSED
from slipway.reconcilers.children import Children
from slipway.reconcilers.deadlines import Deadlines
from slipway.reconcilers.events import Recorder
from slipway.reconcilers.hearing import Hearing
from slipway.reconcilers.queue import WorkQueue
from slipway.settings import Settings

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0

CHILDREN = f"{MANAGED_BY}={MANAGER}"
"""Label selector of everything we make."""


class Reconciler(Protocol):
    """What one kind brings: how its resources are reconciled, and of which children they consist."""

    kind: ClassVar[Kind]
    child_kinds: ClassVar[Mapping[Kind, View]]

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        resources: ObjectCache,
        children: Children,
        deadlines: Deadlines,
        events: Recorder,
    ) -> None: ...

    async def refresh(self) -> Iterable[str]:
        """Read what else the verdicts need; before the first reconcile, and at each sweep.

        Returns the UIDs of resources that must be looked at for it.
        """

    def restore(self) -> None:
        """Rebuild from the caches what is kept in memory alone; once, before the first reconcile."""

    async def reconcile(self, uid: str) -> None: ...

    def measured(self) -> Iterable[Metric]:
        """The figures of this kind alone, at a scrape: called from another thread."""


class Controller:
    """Runs the reconciler of one kind in one namespace. events: its own, unless it is to tell someone else."""

    def __init__(
        self,
        reconciler: type[Reconciler],
        cluster: Cluster,
        settings: Settings,
        namespace: str,
        sweep: float,
        events: Recorder | None = None,
    ) -> None:
        self.kind = reconciler.kind
        self._cluster = cluster
        self._namespace = namespace
        self._sweep_seconds = sweep
        self._own = ObjectCache()
        self._children = Children(
            cluster, namespace, {kind: ObjectCache(view) for kind, view in reconciler.child_kinds.items()}
        )
        self._queue = WorkQueue(settings.workers, self.kind.kind)
        self._deadlines = Deadlines(self._queue.add)
        self._hearing = Hearing()
        self._versions: dict[Kind, str] = {}  # from which on a watch has something to tell
        self._suspects: set[str] = set()  # children without an owner at the last sweep
        self._events = events or Recorder(cluster)
        self._reconciler = reconciler(cluster, settings, self._own, self._children, self._deadlines, self._events)

    @property
    def resources(self) -> ObjectCache:
        return self._own

    async def start(self) -> None:
        """Fill the caches; until then no event must be judged, for a child not yet listed would seem lost."""
        await self._list()
        await self._reconciler.refresh()
        self._reconciler.restore()
        for resource in sorted(
            self._own, key=lambda r: str(r["metadata"]["creationTimestamp"])
        ):  # first come first served
            self._queue.add(resource["metadata"]["uid"])

    async def run(self) -> None:
        """Reconcile until closed, and what was begun then is done, or until cancelled."""
        with CONTROLLERS.shown(self.kind, self._queue, self._reconciler.measured):
            async with asyncio.TaskGroup() as group:
                jobs = [self._deadlines.run(), self._sweep(), self._events.run()]
                jobs += [self._follow(kind) for kind in self._children.caches]
                beside = [group.create_task(job) for job in jobs]
                await self._queue.run(self._reconciler.reconcile)
                for task in beside:
                    task.cancel()

    def close(self) -> None:
        """Begin nothing more."""
        self._queue.close()

    def deaf(self) -> str | None:
        """Which watches bring nothing any more; None while all is well."""
        return self._hearing.deaf()

    def seen(self, kind: Kind, change: str | None, obj: Object) -> None:
        """Take in one watch event. change: ADDED, MODIFIED, DELETED, or None for one of the first list."""
        self._hearing.heard(change, obj)
        cache = self._cache(kind)
        if change == "DELETED":
            cache.remove(obj)
        else:
            cache.put(obj)
        self._enqueue(kind, obj)

    def _enqueue(self, kind: Kind, obj: Object) -> None:
        if kind == self.kind:
            self._queue.add(obj["metadata"]["uid"])
            return
        claimed = obj["metadata"].get("labels", {}).get(UID)  # all that is left where someone took the owner off
        for uid in {owner_uid(obj), claimed} - {None}:
            self._queue.add(uid)

    async def _list(self) -> list[tuple[Kind, Object]]:
        """Compare the caches with the cluster; returns what the watches missed."""
        kinds = (self.kind, *self._children.caches)
        return [(kind, obj) for kind in kinds for obj in await self._list_one(kind)]

    async def _list_one(self, kind: Kind) -> list[Object]:
        selector = "" if kind == self.kind else CHILDREN
        objects, self._versions[kind] = await self._cluster.list(kind, self._namespace, selector)
        gone, fresh = self._cache(kind).replace(objects, self._versions[kind])
        for obj in gone:
            self._hearing.gone(obj)
        for obj in fresh:
            self._hearing.missed(kind, obj)
        return gone + fresh

    async def _follow(self, kind: Kind) -> None:
        """The watch of a child kind: from the list on, and again from where it broke off."""
        loop = asyncio.get_running_loop()
        while True:
            next_try = loop.time() + RECONNECT_SECONDS
            try:
                if kind not in self._versions:
                    for obj in await self._list_one(kind):
                        self._enqueue(kind, obj)
                watch = self._cluster.watch(kind, self._namespace, self._versions[kind], CHILDREN)
                async with aclosing(watch) as events:
                    async for change, obj in events:
                        self._versions[kind] = obj["metadata"]["resourceVersion"]
                        if change != "BOOKMARK":
                            self.seen(kind, change, obj)
            except Gone:
                del self._versions[kind]
            except ApiError as error:
                log.warning("the watch of %s is down, again in %g s: %s", kind.plural, RECONNECT_SECONDS, error)
            await asyncio.sleep(next_try - loop.time())  # a watch that lasted is opened again at once

    def _cache(self, kind: Kind) -> ObjectCache:
        return self._own if kind == self.kind else self._children.caches[kind]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            try:
                for kind, obj in await self._list():
                    MISSED.labels(kind.kind).inc()
                    self._enqueue(kind, obj)
                await self._remove_orphans()
                for uid in await self._reconciler.refresh():
                    self._queue.add(uid)
            except Exception as error:
                log.warning("the sweep over %s failed, again in %g s: %s", self.kind.plural, self._sweep_seconds, error)

    async def _remove_orphans(self) -> None:
        """Delete children that no resource owns, once two sweeps in a row saw them so.

        Kubernetes collects those of a deleted owner; not those that were let go (`kubectl delete --cascade=orphan`).
        """
        orphans = {
            obj["metadata"]["uid"]: (kind, obj["metadata"]["name"])
            for kind, cache in self._children.caches.items()
            for obj in cache
            if self._own.get(owner_uid(obj) or "") is None and "deletionTimestamp" not in obj["metadata"]
        }
        for uid in self._suspects & orphans.keys():
            await self._remove_orphan(uid, *orphans[uid])
        self._suspects = set(orphans)

    async def _remove_orphan(self, uid: str, kind: Kind, name: str) -> None:
        try:
            found = await self._cluster.get(kind, name, self._namespace)
        except NotFound:
            return
        metadata = ObjectMeta.model_validate(found["metadata"])
        if metadata.uid == uid and label_of(self.kind) in metadata.labels:
            log.info("%s %s belongs to no %s, deleting it", kind.singular, name, self.kind.singular)
            await self._cluster.delete(kind, metadata)
