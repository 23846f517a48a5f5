"""What a process knows of one kind: fed by a watch, by its own writes, and by lists."""

from collections.abc import Callable, Iterable, Iterator

from slipway.api.meta import Object


def controller(obj: Object) -> Object | None:
    """The reference to the resource that controls this object."""
    references = obj["metadata"].get("ownerReferences", [])
    return next((r for r in references if r.get("controller")), None)


def owner_uid(obj: Object) -> str | None:
    """UID of the resource that controls this object."""
    reference = controller(obj)
    return reference["uid"] if reference else None


def whole(obj: Object) -> Object:
    """The object without managedFields, which are half its size and nobody reads."""
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    return obj | {"metadata": metadata}


def pod_view(obj: Object) -> Object:
    """Of a pod, what observers read: it is made once and never compared again."""
    metadata = obj["metadata"]
    kept = (
        *("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences"),
        *("creationTimestamp", "deletionTimestamp"),
    )
    spec, status = obj["spec"], obj.get("status", {})
    read = ("phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses")
    return {
        "metadata": {k: metadata[k] for k in kept if k in metadata},
        "spec": {k: spec[k] for k in ("nodeName",) if k in spec},
        "status": {k: status[k] for k in read if k in status},
    }


REMEMBERED = 4096
"""Of deletions, so that a late answer to a write brings nothing back to life; and of whatever else may come late."""

View = Callable[[Object], Object]
"""Cuts an object down to what is read of it."""


class ObjectCache:
    """Objects by UID, never older than the newest version seen; for children also by their owner's UID."""

    def __init__(self, view: View = whole) -> None:
        self._view = view
        self._objects: dict[str, Object] = {}
        self._owned: dict[str, dict[str, Object]] = {}
        self._deleted: dict[str, None] = {}  # an ordered set

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def snapshot(self) -> list[Object]:
        """All of them, as they are now; safe to call from another thread, where to iterate is not."""
        return list(self._objects.values())

    def get(self, uid: str) -> Object | None:
        return self._objects.get(uid)

    def owned_by(self, uid: str) -> dict[str, Object]:
        """Children of one owner, by name."""
        return {obj["metadata"]["name"]: obj for obj in self._owned.get(uid, {}).values()}

    def put(self, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        known = self._objects.get(uid)
        if uid in self._deleted:
            return
        if known is None or version(obj) > version(known):
            self._disown(known)
            self._objects[uid] = seen = self._view(obj)
            if owner := owner_uid(obj):
                self._owned.setdefault(owner, {})[uid] = seen

    def remove(self, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED:
            del self._deleted[next(iter(self._deleted))]
        self._disown(self._objects.pop(uid, None))

    def _disown(self, known: Object | None) -> None:
        if known and (owner := owner_uid(known)):
            siblings = self._owned[owner]
            del siblings[known["metadata"]["uid"]]
            if not siblings:
                del self._owned[owner]

    def replace(self, objects: Iterable[Object], list_version: str) -> tuple[list[Object], list[Object]]:
        """Take over a list, and drop what it no longer has. Returns what is gone and what is new: missed events."""
        listed = {obj["metadata"]["uid"]: obj for obj in objects}
        gone = [o for uid, o in self._objects.items() if uid not in listed and version(o) <= int(list_version)]
        fresh = [
            obj for uid, obj in listed.items() if (known := self.get(uid)) is None or version(obj) > version(known)
        ]
        for obj in gone:
            self.remove(obj)
        for obj in fresh:
            self.put(obj)
        return gone, fresh


def version(obj: Object) -> int:
    """resourceVersions are comparable as numbers, as Kubernetes promises since 1.35 and etcd always kept."""
    return int(obj["metadata"]["resourceVersion"])
