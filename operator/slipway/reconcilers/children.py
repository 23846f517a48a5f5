"""The children of one kind of resource: what exists of them, and the writes that bring it to what should."""

import asyncio
from collections.abc import Collection, Mapping

from slipway.api.kinds import Kind
from slipway.api.meta import Object, ObjectMeta
from slipway.cache import ObjectCache, owner_uid
from slipway.cluster import Cluster
from slipway.errors import AlreadyExists


class Children:
    """Caches by kind, and the writes that keep them."""

    def __init__(self, cluster: Cluster, namespace: str, caches: Mapping[Kind, ObjectCache]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.caches = caches

    def find(self, kind: Kind, owner: str, name: str) -> Object | None:
        return self.caches[kind].owned_by(owner).get(name)

    async def created(self, kind: Kind, body: Object) -> Object:
        """The child, made if need be, and not changed. AlreadyExists: the name is another owner's."""
        metadata = body["metadata"]
        uid = metadata["ownerReferences"][0]["uid"]
        if found := self.find(kind, uid, metadata["name"]):
            return found
        try:
            made = await self._cluster.create(kind, body, self._namespace)
        except AlreadyExists:
            made = await self._cluster.get(kind, metadata["name"], self._namespace)
            if owner_uid(made) != uid:
                raise
        self.caches[kind].put(made)
        return made

    async def labelled(self, kind: Kind, body: Object) -> Object:
        """The child, made if need be, and with our labels put back; of the rest, nothing of a pod may change."""
        found = await self.created(kind, body)
        wanted = body["metadata"]["labels"]
        if wanted.items() <= found["metadata"].get("labels", {}).items():
            return found
        made = await self._cluster.patch(
            kind,
            ObjectMeta.model_validate(found["metadata"]),
            {"metadata": {"uid": found["metadata"]["uid"], "labels": wanted}},
        )
        self.caches[kind].put(made)
        return made

    async def kept(self, kind: Kind, body: Object) -> Object:
        """The child, made if need be, and brought back to what `body` says where it differs."""
        found = await self.created(kind, body)
        if covers(found, body):
            return found
        metadata = found["metadata"] | {"labels": found["metadata"].get("labels", {}) | body["metadata"]["labels"]}
        made = await self._cluster.update(kind, found | {"metadata": metadata, "spec": found["spec"] | body["spec"]})
        self.caches[kind].put(made)
        return made

    async def removed(self, owner: str, kind: Kind | None = None, keep: Collection[str] = ()) -> None:
        """Delete what the owner has, of one kind or of all, but for the names in `keep`."""
        doomed = [
            (of, child)
            for of, cache in self.caches.items()
            if kind in (None, of)
            for name, child in cache.owned_by(owner).items()
            if name not in keep and "deletionTimestamp" not in child["metadata"]
        ]
        await asyncio.gather(*(self._cluster.delete(of, ObjectMeta.model_validate(c["metadata"])) for of, c in doomed))


def covers(observed: Object, desired: Object) -> bool:
    """Whether our labels and spec fields are as desired; fields that only others set (clusterIP) are theirs."""
    labels, ours = observed["metadata"].get("labels", {}), desired["metadata"]["labels"]
    spec = observed["spec"]
    # The API server leaves out what is empty.
    same = all((spec.get(field) or None) == (value or None) for field, value in desired["spec"].items())
    return same and all(labels.get(key) == value for key, value in ours.items())
