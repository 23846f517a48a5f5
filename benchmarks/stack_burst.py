"""A burst of Stack resources: how fast they become pods, Services and status, against a bare client's same writes."""

import asyncio
import re
from functools import partial
from statistics import median
from typing import Any

from benchmarks.bare import MERGE, Bare, at_once, timed
from benchmarks.figures import Figure
from benchmarks.hollow import hollow_node
from benchmarks.memory import MEMORY_MB, memory
from benchmarks.stacks import AT_ONCE, REFERENCE, children, clean, create, free_ports, path, resource
from slipway.api.kinds import NETWORK_POLICY, POD, SERVICE, STACK
from tests.support.product import Product

BURST = 300
ROUNDS = 3
READY = 30  # stacks that really run, for the count of writes
SHARE = 0.6  # of a bare client's rate


async def run(api: Bare, product: Product) -> list[Figure]:
    reference, ours = [], []
    async with hollow_node(api):
        await asyncio.sleep(11)  # the operator looks at the nodes every 10 s
        for _ in range(ROUNDS):
            reference.append(BURST / await timed(partial(_bare_burst, api)))
            await clean(api)
            ours.append(BURST / await timed(partial(create, api, range(BURST))))
            await clean(api)
    await asyncio.sleep(11)
    before = await _writes(api)
    await create(api, range(READY), _ready)
    after = await _writes(api)
    await clean(api)
    return [
        Figure("bare client", median(reference), "stacks/s"),
        Figure("operator", median(ours), "stacks/s"),
        Figure("share of the bare client's rate", median(map(_share, ours, reference)), "", ">=", SHARE),
        *(Figure(f"writes per stack, {name}", (after[name] - before[name]) / READY) for name in after),
        Figure("operator memory now", memory(product, "operator"), "MB", "<=", MEMORY_MB),
        Figure("operator memory at its peak", memory(product, "operator", "VmHWM"), "MB"),
    ]


def _share(rate: float, reference: float) -> float:
    return rate / reference


async def _bare_burst(api: Bare) -> None:
    """What the operator and its clients write for a burst, one request after the other for each stack."""
    places = zip(range(BURST), await free_ports(api), strict=False)
    await at_once(AT_ONCE, [partial(_bare_stack, api, index, port) for index, port in places])


async def _bare_stack(api: Bare, index: int, port: int) -> None:
    made = await api.call("POST", path(STACK, REFERENCE), resource(index))
    parts = children(made, port)
    await api.call("POST", path(SERVICE, REFERENCE), parts.service)
    await api.call("POST", path(NETWORK_POLICY, REFERENCE), parts.network_policy)
    await api.call("POST", path(POD, REFERENCE), parts.pod)
    condition = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "waiting"}
    status = {
        "observedGeneration": 1,
        "conditions": [condition | {"lastTransitionTime": made["metadata"]["creationTimestamp"]}],
        "podName": parts.pod["metadata"]["name"],
        "nodePort": port,
    }
    where = path(STACK, REFERENCE, made["metadata"]["name"])
    await api.call("PATCH", f"{where}/status", {"status": status}, MERGE)


def _ready(status: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))


async def _writes(api: Bare) -> dict[str, float]:
    """Writes that the API server has answered so far, by resource."""
    wanted = {
        "Stack status": (r'resource="stacks",', r'subresource="status"', r'verb="(PATCH|PUT|APPLY)"'),
        "pods": (r'resource="pods",', r'subresource=""', r'verb="(POST|PATCH|PUT|APPLY)"'),
        "services": (r'resource="services",', r'subresource=""', r'verb="(POST|PATCH|PUT|APPLY)"'),
        "network policies": (r'resource="networkpolicies",', r'subresource=""', r'verb="(POST|PATCH|PUT|APPLY)"'),
    }
    lines = [x for x in (await api.call("GET", "/metrics")).splitlines() if x.startswith("apiserver_request_total{")]
    return {
        name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(re.search(p, line) for p in patterns))
        for name, patterns in wanted.items()
    }
