"""`POST /stacks` under load: how fast players get their pods, and whether they keep them."""

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import aiohttp
import yaml

from benchmarks.bare import Bare, at_once, timed
from benchmarks.figures import Figure, percentile
from benchmarks.hollow import hollow_node
from benchmarks.stacks import FIRST_USER, POD_SPEC, REFERENCE, TARGET_PORT, children, clean, free_ports, path, resource
from slipway.api.kinds import POD, SERVICE
from tests.support.product import Product

STACKS = 60
ROUNDS = 3
BARE_AT_ONCE = 32
LOSS_SECONDS = 60.0
"""After so long a stack that was answered 201 must still be there."""
ALIVE = ("creating", "running")

BARE_THEN = 123.0
"""Pods with their Services a second that a bare client made where the references were measured."""
REFERENCES = {8: 18.7, 32: 17.4}
"""Requests at once -> stacks a second of a gateway with its store in memory."""
FACTOR = 2.0
P99_SECONDS = 2.0

POD_YAML = yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": POD_SPEC})


@dataclass
class Tally:
    """All rounds of one load."""

    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)  # to the bare client of the same round
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lost: int = 0


async def run(api: Bare, product: Product) -> list[Figure]:
    """On nodes that start the pods."""
    tallies = {limit: Tally() for limit in REFERENCES}
    bare = []
    async with aiohttp.ClientSession(product.gateway) as session:
        for number in range(ROUNDS):
            bare.append(STACKS / await timed(partial(_bare_burst, api)))
            await clean(api)
            for limit, tally in tallies.items():
                await _round(session, limit, tally, keep=number == ROUNDS - 1)
                tally.ratios.append(tally.rates[-1] / bare[-1])
                await clean(api)
    figures = [Figure(f"bare client, pod + Service, {BARE_AT_ONCE} at once", median(bare), "/s")]
    for limit, tally in tallies.items():
        figures += _figures(limit, tally, median(bare))
    return figures


async def run_hollow(api: Bare, product: Product) -> list[Figure]:
    """On a node that starts none: what is left is operator, gateway, API server and scheduler."""
    async with hollow_node(api):
        return await run(api, product)


def _figures(limit: int, tally: Tally, bare: float) -> list[Figure]:
    for error in sorted(set(tally.errors)):
        print(f"{limit} at once, {tally.errors.count(error)} times: {error}")
    return [
        Figure(f"{limit} at once", median(tally.rates), "/s", ">=", FACTOR * REFERENCES[limit] * bare / BARE_THEN),
        Figure(f"{limit} at once, share of the bare client's rate", median(tally.ratios)),
        Figure(f"{limit} at once, p50", percentile(tally.seconds, 0.5) * 1000, "ms"),
        Figure(f"{limit} at once, p99", percentile(tally.seconds, 0.99) * 1000, "ms", "<=", P99_SECONDS * 1000),
        Figure(f"{limit} at once, errors", len(tally.errors), f"of {ROUNDS * STACKS}", "<=", 0),
        Figure(f"{limit} at once, lost in {LOSS_SECONDS:g} s", tally.lost, f"of {STACKS}", "<=", 0),
    ]


async def _round(session: aiohttp.ClientSession, limit: int, tally: Tally, *, keep: bool) -> None:
    """One burst; with `keep`, also a look at it when it has had time to get lost."""
    made: list[str] = []
    before = len(tally.errors)
    jobs = [partial(_post, session, index, tally, made) for index in range(STACKS)]
    seconds = await timed(partial(at_once, limit, jobs))
    tally.rates.append((STACKS - (len(tally.errors) - before)) / seconds)
    if keep:
        await asyncio.sleep(LOSS_SECONDS)
        tally.lost = sum([not await _alive(session, stack_id) for stack_id in made])


async def _post(session: aiohttp.ClientSession, index: int, tally: Tally, made: list[str]) -> None:
    body = {"user_id": FIRST_USER + index, "problem_id": 1, "target_port": TARGET_PORT, "pod_spec": POD_YAML}
    start = time.perf_counter()
    try:
        async with session.post("/stacks", json=body) as response:
            answer: dict[str, Any] = await response.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        tally.errors.append(type(error).__name__)
        return
    tally.seconds.append(time.perf_counter() - start)
    if response.status == 201 and answer["node_id"] and answer["node_port"]:
        made.append(answer["stack_id"])
    else:
        tally.errors.append(f"{response.status} {answer.get('error', 'without a node')}")


async def _alive(session: aiohttp.ClientSession, stack_id: str) -> bool:
    async with session.get(f"/stacks/{stack_id}/status") as response:
        return response.status == 200 and (await response.json())["status"] in ALIVE


async def _bare_burst(api: Bare) -> None:
    places = zip(range(STACKS), await free_ports(api), strict=False)
    await at_once(BARE_AT_ONCE, [partial(_bare_pod, api, index, port) for index, port in places])


async def _bare_pod(api: Bare, index: int, port: int) -> None:
    """The same pod and Service that a stack has, and nothing to own them."""
    identity = {"uid": f"bench-{index}", "namespace": REFERENCE}
    parts = children(resource(index) | {"metadata": resource(index)["metadata"] | identity}, port)
    for body in (parts.pod, parts.service):
        del body["metadata"]["ownerReferences"]
    await api.call("POST", path(POD, REFERENCE), parts.pod)
    await api.call("POST", path(SERVICE, REFERENCE), parts.service)
