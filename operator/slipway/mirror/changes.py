"""What the table should show, and how what it shows differs from that."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from slipway.api.meta import Object
from slipway.mirror import item

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One item to put (the Stack, and its item's digest), or to delete (None)."""

    uid: str
    stack: Object | None = None
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    stack: Object
    digest: bytes | None  # None: it cannot be read, and what the table says of it stays


class Desired:
    """Digests of the items that there should be, made anew only for Stacks whose version changed.

    Items themselves are made when they are written: all of them would take as much memory as the Stacks again.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._entries: dict[str, _Entry] = {}

    async def update(self, stacks: Iterable[Object]) -> None:
        """Take over what there is now; a Stack that is being deleted is gone."""
        alive = {s["metadata"]["uid"]: s for s in stacks if self._ours(s["metadata"])}
        fresh = {uid: stack for uid, stack in alive.items() if not self._has(uid, stack)}
        made = await asyncio.to_thread(_entries, fresh) if fresh else {}
        self._entries = {uid: made.get(uid) or self._entries[uid] for uid in alive}

    def changes(self, known: Mapping[str, bytes]) -> list[Change]:
        """What makes of a table with these items (digest by UID) the one that there should be."""
        gone = [Change(uid) for uid in known if uid not in self._entries]
        return gone + list(self._puts(known))

    def _puts(self, known: Mapping[str, bytes]) -> Iterator[Change]:
        for uid, entry in self._entries.items():
            if entry.digest is not None and known.get(uid) != entry.digest:
                yield Change(uid, entry.stack, entry.digest)

    def _ours(self, metadata: Object) -> bool:
        return metadata["namespace"] == self._namespace and not metadata.get("deletionTimestamp")

    def _has(self, uid: str, stack: Object) -> bool:
        entry = self._entries.get(uid)
        return entry is not None and _version(entry.stack) == _version(stack)


def _entries(stacks: Mapping[str, Object]) -> dict[str, _Entry]:
    return {uid: _Entry(stack, _digest(stack)) for uid, stack in stacks.items()}


def _digest(stack: Object) -> bytes | None:
    try:
        return item.digest(item.build(stack))
    except Exception as error:  # one Stack of another release's making must not keep the others out
        name = stack["metadata"]["name"]
        log.warning("stack %s is not as this release knows it, and not mirrored (%s)", name, type(error).__name__)
        return None


def _version(stack: Object) -> str:
    return str(stack["metadata"]["resourceVersion"])
