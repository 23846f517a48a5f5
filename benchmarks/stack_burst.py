"""A burst of Stack resources: how fast they become pods, Services and status, against a bare client's same writes."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bare import MERGE, Bare, at_once
from benchmarks.hollow import hollow_node
from slipway.api.kinds import NETWORK_POLICY, POD, SERVICE, STACK, Kind
from slipway.api.stack import Stack
from slipway.builders.stack import build
from slipway.rules.pod_spec import PodLimits, sanitize

BURST = 300
ROUNDS = 3
AT_ONCE = 32  # creates of the burst; and stacks that the bare client works on
READY = 30  # stacks that really run, for the count of writes
OURS, REFERENCE = "stacks", "slipway-bench"
FIRST_USER = 9_100_000
NODE_PORTS = range(30000, 32768)
CHILDREN = (POD, SERVICE, NETWORK_POLICY)

Report = dict[str, float]


def resource(index: int) -> dict[str, Any]:
    user = FIRST_USER + index
    container = {
        "name": "app",
        "image": "registry.k8s.io/pause:3.10",
        "ports": [{"containerPort": 5000}],
        "resources": {"limits": {"cpu": "1m", "memory": "8Mi"}},
    }
    return {
        "apiVersion": STACK.api_version,
        "kind": STACK.kind,
        "metadata": {"name": f"stack-{user}-1"},
        "spec": {
            "userId": user,
            "problemId": 1,
            "targetPort": 5000,
            "template": {"spec": {"containers": [container]}},
        },
    }


async def run(api: Bare, operator_pid: int) -> Report:
    """Rates in stacks per second, their ratio, writes per stack, memory in MB."""
    await _namespace(api)
    await _clean(api)
    reference, ours = [], []
    async with hollow_node(api):
        await asyncio.sleep(11)  # the operator looks at the nodes every 10 s
        for _ in range(ROUNDS):
            reference.append(await _timed(partial(_bare_burst, api)))
            await _clean(api)
            ours.append(await _timed(partial(_burst, api, BURST, _placed)))
            await _clean(api)
    rates = [BURST / t for t in reference], [BURST / t for t in ours]
    await asyncio.sleep(11)
    before = await _writes(api)
    await _burst(api, READY, _ready)
    after = await _writes(api)
    await _clean(api)
    counts = {f"writes per stack, {name}": (after[name] - before[name]) / READY for name in after}
    return {
        "bare client, stacks/s": median(rates[0]),
        "operator, stacks/s": median(rates[1]),
        "ratio (>= 0.6)": median(o / b for o, b in zip(rates[1], rates[0], strict=True)),
        **counts,
        "operator memory now, MB (< 120)": _memory(operator_pid, "VmRSS"),
        "operator memory at its peak, MB": _memory(operator_pid, "VmHWM"),
    }


async def _timed(job: Callable[[], Any]) -> float:
    start = time.perf_counter()
    await job()
    return time.perf_counter() - start


async def _bare_burst(api: Bare) -> None:
    """What the operator and its clients write for a burst, one request after the other for each stack."""
    services = (await api.call("GET", "/api/v1/services"))["items"]
    taken = {port.get("nodePort") for service in services for port in service["spec"].get("ports", [])}
    free = (port for port in NODE_PORTS if port not in taken)
    places = zip(range(BURST), free, strict=False)
    await at_once(AT_ONCE, [partial(_bare_stack, api, index, port) for index, port in places])


async def _bare_stack(api: Bare, index: int, port: int) -> None:
    made = await api.call("POST", _path(STACK, REFERENCE), resource(index))
    stack = Stack.model_validate(made)
    pod = sanitize(stack.spec.template, stack.spec.target_port, PodLimits(2000, 2**29))
    children = build(stack, pod, port, [])
    await api.call("POST", _path(SERVICE, REFERENCE), children.service)
    await api.call("POST", _path(NETWORK_POLICY, REFERENCE), children.network_policy)
    await api.call("POST", _path(POD, REFERENCE), children.pod)
    condition = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "waiting"}
    status = {
        "observedGeneration": 1,
        "conditions": [condition | {"lastTransitionTime": made["metadata"]["creationTimestamp"]}],
        "podName": children.pod["metadata"]["name"],
        "nodePort": port,
    }
    await api.call("PATCH", f"{_path(STACK, REFERENCE, stack.metadata.name)}/status", {"status": status}, MERGE)


async def _burst(api: Bare, count: int, done: Callable[[dict[str, Any]], bool]) -> None:
    """Create Stacks for the operator, and watch until all of them are done."""
    version = (await api.call("GET", f"{_path(STACK, OURS)}?limit=1"))["metadata"]["resourceVersion"]
    waiting = {resource(index)["metadata"]["name"] for index in range(count)}

    async def follow() -> None:
        async for event in api.lines(f"{_path(STACK, OURS)}?watch=true&resourceVersion={version}"):
            seen = event["object"]
            if any(c["type"] == "Stalled" for c in seen["status"].get("conditions", [])):
                raise RuntimeError(f"{seen['metadata']['name']} was refused: {seen['status']}")
            if done(seen["status"]):
                waiting.discard(seen["metadata"]["name"])
            if not waiting:
                return

    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        group.create_task(follow())
        jobs = (partial(api.call, "POST", _path(STACK, OURS), resource(index)) for index in range(count))
        group.create_task(at_once(AT_ONCE, jobs))


def _placed(status: dict[str, Any]) -> bool:
    return bool(status.get("nodeName") and status.get("nodePort"))


def _ready(status: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))


async def _namespace(api: Bare) -> None:
    names = [n["metadata"]["name"] for n in (await api.call("GET", "/api/v1/namespaces"))["items"]]
    if REFERENCE not in names:
        await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": REFERENCE}})


async def _clean(api: Bare) -> None:
    """Delete the burst's Stacks, and wait until nothing of them is left."""
    for namespace in (OURS, REFERENCE):
        found = (await api.call("GET", _path(STACK, namespace)))["items"]
        mine = [s["metadata"]["name"] for s in found if s["spec"]["userId"] >= FIRST_USER]
        await at_once(AT_ONCE, (partial(api.call, "DELETE", _path(STACK, namespace, name)) for name in mine))
    async with asyncio.timeout(300):
        while await _left(api):
            await asyncio.sleep(0.5)


async def _left(api: Bare) -> int:
    """How many children there still are. Pods of the hollow node end only by force."""
    left = 0
    for namespace in (OURS, REFERENCE):
        for kind in CHILDREN:
            found = (await api.call("GET", f"{_path(kind, namespace)}?labelSelector=slipway.dev/stack"))["items"]
            mine = [o["metadata"] for o in found if o["metadata"]["name"].startswith(f"stack-{FIRST_USER // 1000}")]
            left += len(mine)
            if kind == POD:
                doomed = (m["name"] for m in mine if "deletionTimestamp" in m)
                force = {"gracePeriodSeconds": 0}
                await at_once(AT_ONCE, (partial(_end_pod, api, namespace, name, force) for name in doomed))
    return left


async def _end_pod(api: Bare, namespace: str, name: str, options: dict[str, int]) -> None:
    try:
        await api.call("DELETE", _path(POD, namespace, name), options)
    except RuntimeError as error:
        if ": 404" not in str(error):
            raise


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


def _memory(pid: int, field: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{namespace}/{kind.plural}" + (f"/{name}" if name else "")
