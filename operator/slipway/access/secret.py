"""The Secret of who may, read and edited over the API server."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from random import SystemRandom

from slipway.access.records import NAME, NOBODY, AccessTable, parse
from slipway.api.kinds import SECRET
from slipway.api.meta import Object, ObjectMeta
from slipway.cluster import Cluster
from slipway.errors import AlreadyExists, Conflict, NotFound, Unavailable

TRIES = 30  # others edit it at the same time
LONGEST_PAUSE = 1.0  # seconds

Change = Callable[[AccessTable], Mapping[str, bytes | None]]
"""Of the table as it is: entries to write; None takes one away; nothing: it is as it should be."""


async def read(cluster: Cluster, namespace: str) -> AccessTable:
    """The table. Raises NotFound where nobody has been let in yet, and the other ApiErrors."""
    return parse((await cluster.get(SECRET, NAME, namespace)).get("data") or {})


async def read_or_nobody(cluster: Cluster, namespace: str) -> AccessTable:
    try:
        return await read(cluster, namespace)
    except NotFound:
        return NOBODY


async def edit(cluster: Cluster, namespace: str, change: Change) -> None:
    """Write what `change` asks for into the very version that it was asked of; asked again when others were faster.

    `change` sees its own entries when an answer was lost on the way, and then has nothing left to ask for.
    """
    for attempt in range(TRIES):
        try:
            return await _edit_once(cluster, namespace, change)
        except (Conflict, AlreadyExists):
            await asyncio.sleep(SystemRandom().uniform(0, min(LONGEST_PAUSE, 0.02 * 2**attempt)))
    raise Unavailable(f"the Secret {NAME} changes all the time: try again")


async def _edit_once(cluster: Cluster, namespace: str, change: Change) -> None:
    try:
        found = await cluster.get(SECRET, NAME, namespace)
    except NotFound:
        await _create(cluster, namespace, change)
        return
    entries = _encoded(change(parse(found.get("data") or {})))
    if entries:
        metadata = ObjectMeta.model_validate(found["metadata"])
        guard = {"uid": metadata.uid, "resourceVersion": metadata.resource_version}
        await cluster.patch(SECRET, metadata, {"metadata": guard, "data": entries})


async def _create(cluster: Cluster, namespace: str, change: Change) -> None:
    body: Object = {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "type": "Opaque",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/part-of": "slipway"}},
        "data": {name: value for name, value in _encoded(change(NOBODY)).items() if value is not None},
    }
    if not body["data"]:
        return
    try:
        await cluster.create(SECRET, body, namespace)
    except NotFound as error:
        raise Unavailable(f"there is no namespace {namespace}: install Slipway's manifests first") from error
    except Unavailable:
        if change(await read_or_nobody(cluster, namespace)):  # no answer came, and nothing was made either
            raise


def _encoded(entries: Mapping[str, bytes | None]) -> dict[str, str | None]:
    return {name: None if value is None else base64.b64encode(value).decode() for name, value in entries.items()}
