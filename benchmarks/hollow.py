"""A node without a kubelet: pods are scheduled to it and go no further, so that their start costs nobody anything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from benchmarks.bare import MERGE, Bare

NAME = "slipway-hollow"
HEARTBEAT_SECONDS = 10  # the cluster gives a silent node up after 40
ROOM = {"cpu": "1000", "memory": "1000Gi", "pods": "10000"}


@asynccontextmanager
async def hollow_node(api: Bare) -> AsyncIterator[None]:
    """The only node that takes pods, until the end."""
    nodes = (await api.call("GET", "/api/v1/nodes"))["items"]
    real = [n["metadata"]["name"] for n in nodes if n["metadata"]["name"] != NAME]
    if len(real) == len(nodes):
        await api.call("POST", "/api/v1/nodes", {"metadata": {"name": NAME}})
    await _beat(api)
    beating = asyncio.create_task(_keep_beating(api))
    try:
        await _set_cordon(api, real, cordoned=True)
        while any(t.get("effect") for t in await _taints(api)):
            await asyncio.sleep(0.2)
        yield
    finally:
        await _set_cordon(api, real, cordoned=False)
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await api.call("DELETE", f"/api/v1/nodes/{NAME}")


async def _taints(api: Bare) -> list[dict[str, Any]]:
    node = await api.call("GET", f"/api/v1/nodes/{NAME}")
    return list(node["spec"].get("taints", []))


async def _set_cordon(api: Bare, nodes: list[str], *, cordoned: bool) -> None:
    for name in nodes:
        await api.call("PATCH", f"/api/v1/nodes/{name}", {"spec": {"unschedulable": cordoned or None}}, MERGE)


async def _keep_beating(api: Bare) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await _beat(api)


async def _beat(api: Bare) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "reason": "Hollow", "message": "no kubelet", "lastHeartbeatTime": now}
    status = {"allocatable": ROOM, "capacity": ROOM, "conditions": [ready | {"lastTransitionTime": now}]}
    await api.call("PATCH", f"/api/v1/nodes/{NAME}/status", {"status": status}, MERGE)
