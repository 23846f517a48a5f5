"""SIGKILL of the operator that leads: how long until another one places what is asked for right afterwards."""

import asyncio
import os
import signal
import time
from typing import Any

from benchmarks.bare import Bare
from benchmarks.figures import Figure
from benchmarks.stacks import clean, create
from slipway.api.kinds import LEASE
from slipway.lease import NAME
from tests.support.product import SYSTEM, Product

ROUNDS = 3
LEASE_PATH = f"/apis/{LEASE.api_version}/namespaces/{SYSTEM}/{LEASE.plural}/{NAME}"
LEADING_SECONDS = 60.0
TAKEOVER_SECONDS = 15.0
FIRST, SECOND = "operator", "operator-2"


async def run(api: Bare, product: Product) -> list[Figure]:
    took = []
    try:
        for _ in range(ROUNDS):
            took.append(await _takeover(api, product))
            await clean(api)
    finally:
        product.stop(SECOND)
        product.up()
    return [
        Figure("the fastest takeover", min(took), "s"),
        Figure("the slowest takeover", max(took), "s", "<=", TAKEOVER_SECONDS),
    ]


async def _takeover(api: Bare, product: Product) -> float:
    """Alone, the product's operator becomes the leader; it dies when another one stands by."""
    product.stop(SECOND)
    product.up()
    leader = await _leader(api)
    product.spawn(SECOND)
    product.wait_ready(SECOND)
    holder = (await _lease(api)).get("holderIdentity")
    if holder != leader:
        raise RuntimeError(f"{holder} took over from {leader}, which was alive")
    record = product.record(FIRST)
    if record is None:
        raise RuntimeError("the operator does not run")
    os.kill(record.pid, signal.SIGKILL)
    start = time.perf_counter()
    await create(api, [0])
    return time.perf_counter() - start


async def _leader(api: Bare) -> str:
    """Who leads, once the lease has been renewed: one that a dead leader left behind is not."""
    first = await _lease(api)
    async with asyncio.timeout(LEADING_SECONDS):
        while not (now := await _lease(api)).get("holderIdentity") or now["renewTime"] == first.get("renewTime"):
            await asyncio.sleep(0.1)
    return str(now["holderIdentity"])


async def _lease(api: Bare) -> dict[str, Any]:
    """Its spec; empty where nobody has ever led."""
    if not await api.exists(LEASE_PATH):
        return {}
    return dict((await api.call("GET", LEASE_PATH))["spec"])
