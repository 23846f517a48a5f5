"""A node without a kubelet: pods are scheduled to it and go no further, so that their start costs nobody anything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from benchmarks.bare import MERGE, Bare

NAME = "slipway-hollow"
NODES = "/api/v1/nodes"
CORDONED = "slipway.dev/cordoned-for-benchmarks"
HEARTBEAT_SECONDS = 10  # the cluster gives a silent node up after 40
ROOM = {"cpu": "1000", "memory": "1000Gi", "pods": "10000"}


@asynccontextmanager
async def hollow_node(api: Bare) -> AsyncIterator[None]:
    """The only node that takes pods, until the end."""
    await remove_hollow_node(api)
    await api.call("POST", NODES, {"metadata": {"name": NAME}})
    await _beat(api)
    beating = asyncio.create_task(_keep_beating(api))
    try:
        await _cordon(api)
        while any(t.get("effect") for t in await _taints(api)):
            await asyncio.sleep(0.2)
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await remove_hollow_node(api)


async def remove_hollow_node(api: Bare) -> None:
    """As it was before; also after a run that was killed."""
    for node in (await api.call("GET", NODES))["items"]:
        if CORDONED in node["metadata"].get("annotations", {}):
            as_before = {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}
            await api.call("PATCH", f"{NODES}/{node['metadata']['name']}", as_before, MERGE)
    await api.remove(f"{NODES}/{NAME}")


async def _cordon(api: Bare) -> None:
    """Close all other nodes, but for those that somebody else has closed."""
    body = {"metadata": {"annotations": {CORDONED: "true"}}, "spec": {"unschedulable": True}}
    for node in (await api.call("GET", NODES))["items"]:
        if node["metadata"]["name"] != NAME and not node["spec"].get("unschedulable"):
            await api.call("PATCH", f"{NODES}/{node['metadata']['name']}", body, MERGE)


async def _taints(api: Bare) -> list[dict[str, Any]]:
    node = await api.call("GET", f"{NODES}/{NAME}")
    return list(node["spec"].get("taints", []))


async def _keep_beating(api: Bare) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await _beat(api)


async def _beat(api: Bare) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "reason": "Hollow", "message": "no kubelet", "lastHeartbeatTime": now}
    status = {"allocatable": ROOM, "capacity": ROOM, "conditions": [ready | {"lastTransitionTime": now}]}
    await api.call("PATCH", f"{NODES}/{NAME}/status", {"status": status}, MERGE)
