"""The Stacks that benchmarks make: small, told apart by their users' numbers, and taken away again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from benchmarks.bare import Bare, at_once
from benchmarks.hollow import NAME as HOLLOW
from benchmarks.hollow import remove_hollow_node
from slipway.api.kinds import NETWORK_POLICY, POD, SERVICE, STACK, Kind
from slipway.api.stack import Stack
from slipway.builders.stack import StackChildren, build
from slipway.rules.pod_spec import PodLimits, sanitize

AT_ONCE = 32  # requests of a clean-up, and of a burst
FIRST_USER = 9_100_000
OURS, REFERENCE = "stacks", "slipway-bench"
"""Namespaces: the operator's, and that of what a bare client makes for comparison."""
CHILDREN = (POD, SERVICE, NETWORK_POLICY)
NAMESPACES = "/api/v1/namespaces"
NODE_PORTS = range(30000, 32768)
TARGET_PORT = 5000
GONE_SECONDS = 300.0

POD_SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "app",
            "image": "registry.k8s.io/pause:3.10",
            "ports": [{"containerPort": TARGET_PORT}],
            "resources": {"limits": {"cpu": "1m", "memory": "8Mi"}},
        }
    ]
}


def resource(index: int) -> dict[str, Any]:
    user = FIRST_USER + index
    return {
        "apiVersion": STACK.api_version,
        "kind": STACK.kind,
        "metadata": {"name": f"stack-{user}-1"},
        "spec": {"userId": user, "problemId": 1, "targetPort": TARGET_PORT, "template": {"spec": POD_SPEC}},
    }


def children(made: dict[str, Any], port: int) -> StackChildren:
    """What the operator makes for a Stack."""
    stack = Stack.model_validate(made)
    pod = sanitize(stack.spec.template, stack.spec.target_port, PodLimits(2000, 2**29))
    return build(stack, pod, port, [])


def path(kind: Kind, namespace: str, name: str = "") -> str:
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{namespace}/{kind.plural}" + (f"/{name}" if name else "")


async def free_ports(api: Bare) -> Iterable[int]:
    """Node ports that no Service holds now."""
    services = (await api.call("GET", "/api/v1/services"))["items"]
    taken = {port.get("nodePort") for service in services for port in service["spec"].get("ports", [])}
    return (port for port in NODE_PORTS if port not in taken)


def placed(status: dict[str, Any]) -> bool:
    return bool(status.get("nodeName") and status.get("nodePort"))


async def create(api: Bare, indices: Iterable[int], done: Callable[[dict[str, Any]], bool] = placed) -> None:
    """Create Stacks for the operator, and watch until all of them are done."""
    bodies = [resource(index) for index in indices]
    version = (await api.call("GET", f"{path(STACK, OURS)}?limit=1"))["metadata"]["resourceVersion"]
    waiting = {body["metadata"]["name"] for body in bodies}

    async def follow() -> None:
        async for event in api.lines(f"{path(STACK, OURS)}?watch=true&resourceVersion={version}"):
            seen = event["object"]
            if any(c["type"] == "Stalled" for c in seen["status"].get("conditions", [])):
                raise RuntimeError(f"{seen['metadata']['name']} was refused: {seen['status']}")
            if done(seen["status"]):
                waiting.discard(seen["metadata"]["name"])
            if not waiting:
                return

    async with asyncio.timeout(GONE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(follow())
        group.create_task(at_once(AT_ONCE, (partial(api.call, "POST", path(STACK, OURS), body) for body in bodies)))


@asynccontextmanager
async def tidy(api: Bare) -> AsyncIterator[None]:
    """Nothing of an earlier run is there at first, and nothing of this one at the end."""
    await remove_hollow_node(api)
    if await api.exists(f"{NAMESPACES}/{REFERENCE}"):
        await _remove_namespace(api)
    await api.call("POST", NAMESPACES, {"metadata": {"name": REFERENCE}})
    try:
        await clean(api)
        yield
    finally:
        await clean(api)
        await _remove_namespace(api)


async def _remove_namespace(api: Bare) -> None:
    await api.remove(f"{NAMESPACES}/{REFERENCE}")
    async with asyncio.timeout(GONE_SECONDS):
        while await api.exists(f"{NAMESPACES}/{REFERENCE}"):
            await asyncio.sleep(0.5)


async def clean(api: Bare) -> None:
    """Delete the benchmarks' Stacks and what they are made of, and wait until nothing of them is left."""
    for namespace in (OURS, REFERENCE):
        found = (await api.call("GET", path(STACK, namespace)))["items"]
        mine = [s["metadata"]["name"] for s in found if s["spec"]["userId"] >= FIRST_USER]
        await at_once(AT_ONCE, (partial(api.remove, path(STACK, namespace, name)) for name in mine))
    for kind in CHILDREN:  # the bare client's may have no owner whose end would be theirs
        doomed = (path(kind, REFERENCE, o["metadata"]["name"]) for o in await _mine(api, kind, REFERENCE))
        await at_once(AT_ONCE, [partial(api.remove, where) for where in doomed])
    async with asyncio.timeout(GONE_SECONDS):
        while await _left(api):
            await asyncio.sleep(0.5)


async def _left(api: Bare) -> int:
    """How many children there still are. Pods of the hollow node end only by force."""
    left = 0
    for namespace in (OURS, REFERENCE):
        for kind in CHILDREN:
            mine = await _mine(api, kind, namespace)
            left += len(mine)
            doomed = (o["metadata"]["name"] for o in mine if _waits_for_kubelet(o))
            force = {"gracePeriodSeconds": 0}
            await at_once(AT_ONCE, [partial(api.remove, path(kind, namespace, name), force) for name in doomed])
    return left


def _waits_for_kubelet(obj: dict[str, Any]) -> bool:
    """Whether it is a pod that is to go, on the node that has nobody to end it."""
    return "deletionTimestamp" in obj["metadata"] and obj["spec"].get("nodeName") == HOLLOW


async def _mine(api: Bare, kind: Kind, namespace: str) -> list[dict[str, Any]]:
    found = (await api.call("GET", f"{path(kind, namespace)}?labelSelector=slipway.dev/stack"))["items"]
    return [o for o in found if o["metadata"]["name"].startswith(f"stack-{FIRST_USER // 1000}")]
