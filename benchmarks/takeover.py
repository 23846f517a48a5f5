"""SIGKILL of the operator that leads: how long until another one places what is asked for right afterwards."""

import asyncio
import os
import signal
import sys
import time
from typing import Any

from benchmarks.bare import Bare
from benchmarks.figures import Figure
from benchmarks.stacks import clean, create
from tests.support.product import SYSTEM, Product
from tests.testbed import processes
from tests.testbed.paths import REPO

ROUNDS = 3
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/slipway-operator"
STANDBY_SECONDS = 5.0  # a standby says nothing: this is what its start takes, and some more
LEADING_SECONDS = 60.0
TAKEOVER_SECONDS = 15.0
SECOND = "operator-2"


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
    start_second(product)
    await asyncio.sleep(STANDBY_SECONDS)
    await _still_leads(api, leader)
    record = product.record("operator")
    if record is None:
        raise RuntimeError("the operator does not run")
    os.kill(record.pid, signal.SIGKILL)
    start = time.perf_counter()
    await create(api, [0])
    return time.perf_counter() - start


async def _leader(api: Bare) -> str:
    """Who leads, once the lease has been renewed: one that was left behind is not."""
    first = await _lease(api)
    async with asyncio.timeout(LEADING_SECONDS):
        while (spec := await _lease(api))["renewTime"] == first["renewTime"] or not spec["holderIdentity"]:
            await asyncio.sleep(0.1)
    return str(spec["holderIdentity"])


async def _still_leads(api: Bare, leader: str) -> None:
    holder = (await _lease(api))["holderIdentity"]
    if holder != leader:
        raise RuntimeError(f"{holder} took over from {leader}, which was alive")


async def _lease(api: Bare) -> dict[str, Any]:
    if not await api.exists(LEASE):
        raise RuntimeError(f"no Lease at {LEASE}: without a leader, two operators must not run")
    spec: dict[str, Any] = (await api.call("GET", LEASE))["spec"]
    return spec


def start_second(product: Product) -> None:
    """An operator beside the product's own, as the same ServiceAccount; `product.stop(SECOND)` ends it."""
    environment = {
        "KUBECONFIG": str(product.kubeconfig("slipway-operator")),
        "PYTHONPATH": f"{REPO / 'operator'}:{REPO}",
        "SLIPWAY_PROBE_PORT": "0",
    }
    processes.spawn(
        SECOND,
        [sys.executable, str(REPO / "operator" / "main.py")],
        env={**os.environ, **environment},
        log=product.log(SECOND),
        directory=product.home / "processes",
        fingerprint="",
    )
