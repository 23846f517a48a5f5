"""A thousand Stacks: what they cost in memory, and how soon both processes are back after a restart."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import aiohttp

from benchmarks.bare import Bare
from benchmarks.figures import Figure
from benchmarks.hollow import hollow_node
from benchmarks.memory import MEMORY_MB, memory
from benchmarks.stacks import OURS, clean, create, path
from slipway.api.kinds import NETWORK_POLICY, STACK
from tests.support.product import Product

STACKS = 1000
BROKEN = 20  # Stacks that lose a part while no operator runs: every fiftieth, and the last
START_SECONDS = 10.0
DONE_SECONDS = 120.0
TICKS = os.sysconf("SC_CLK_TCK")


async def run(api: Bare, product: Product) -> list[Figure]:
    """The pods go to a node that starts none of them: this is about us, not about kubelet."""
    try:
        async with hollow_node(api):
            await create(api, range(STACKS))
            async with aiohttp.ClientSession(product.gateway) as session, session.get("/stacks") as response:
                await response.read()  # from now on the gateway holds every answer ready
            figures = [_memory(product, name, "once they are made") for name in ("operator", "gateway")]
            operator, gateway = await _operator(api, product), await _gateway(product)
            figures += [_memory(product, name, "after a restart") for name in ("operator", "gateway")]
            await clean(api)
    finally:
        product.up()
    return [
        *figures,
        Figure(f"operator, from its start until all {STACKS} are reconciled", operator, "s", "<=", START_SECONDS),
        Figure("gateway, from its start until it is ready", gateway, "s", "<=", START_SECONDS),
    ]


def _memory(product: Product, name: str, when: str) -> Figure:
    return Figure(f"{name} memory, {when}", memory(product, name), "MB", "<=", MEMORY_MB)


async def _operator(api: Bare, product: Product) -> float:
    """From the process's start until what was broken without it is whole again.

    It takes them oldest first, so that the last one is whole when all have had their turn.
    """
    product.stop("operator")
    doomed = await _break(api)
    version = (await api.call("GET", f"{path(NETWORK_POLICY, OURS)}?limit=1"))["metadata"]["resourceVersion"]

    async def whole() -> None:
        missing = set(doomed)
        async for event in api.lines(f"{path(NETWORK_POLICY, OURS)}?watch=true&resourceVersion={version}"):
            if event["type"] == "ADDED":
                missing.discard(event["object"]["metadata"]["name"])
            if not missing:
                return

    return await _restarted(product, "operator", whole)


async def _break(api: Bare) -> list[str]:
    """Take the policies of some Stacks away: their loss ends no Stack, and brings them back."""
    stacks = (await api.call("GET", path(STACK, OURS)))["items"]
    stacks.sort(key=lambda stack: stack["metadata"]["creationTimestamp"])
    doomed = [stack["metadata"]["name"] for stack in [*stacks[:: STACKS // BROKEN], stacks[-1]]]
    for name in doomed:
        await api.remove(path(NETWORK_POLICY, OURS, name))
    return doomed


async def _gateway(product: Product) -> float:
    product.stop("gateway")

    async def ready() -> None:
        async with aiohttp.ClientSession(product.gateway) as session:
            while not await _answers(session):
                await asyncio.sleep(0.01)

    return await _restarted(product, "gateway", ready)


async def _answers(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _restarted(product: Product, name: str, done: Callable[[], Awaitable[None]]) -> float:
    """Start what was stopped; seconds from the start of its process until `done`."""
    starting = asyncio.create_task(asyncio.to_thread(product.up))
    try:
        async with asyncio.timeout(DONE_SECONDS):
            await done()
        end = time.clock_gettime(time.CLOCK_BOOTTIME)
    finally:
        await starting  # nothing ends a thread: whoever starts processes next must not meet it
    record = product.record(name)
    if record is None:
        raise RuntimeError(f"the {name} does not run")
    return end - record.started / TICKS
