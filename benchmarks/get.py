"""`GET /stacks/{id}` under load, from wrk, against an aiohttp server that does nothing but answer."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from benchmarks.bare import Bare
from benchmarks.figures import Figure
from benchmarks.stacks import OURS, create, path, resource
from slipway.api.kinds import STACK
from tests.support.product import Product
from tests.testbed.debian import ensure_packages
from tests.testbed.errors import ClusterError
from tests.testbed.progress import Progress
from tests.testbed.tools import search_path, which

CONNECTIONS = 16
SECONDS = 5
RATE = 3000.0
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}  # wrk's, in milliseconds


async def run(api: Bare, product: Product) -> list[Figure]:
    ensure_wrk(product.progress)
    await create(api, [0])
    made = await api.call("GET", path(STACK, OURS, resource(0)["metadata"]["name"]))
    routes = {
        "GET /stacks/{id}": f"{product.gateway}/stacks/{made['metadata']['uid']}",
        "GET /stacks/{id}/status": f"{product.gateway}/stacks/{made['metadata']['uid']}/status",
    }
    async with aiohttp.ClientSession() as session, session.get(routes["GET /stacks/{id}"]) as response:
        answer = await response.read()
    async with _bare_server(answer) as url:
        bare = rate_of(await _wrk(url))
    figures = [Figure("bare aiohttp server, the same bytes", bare, "/s")]
    for name, url in routes.items():
        report = await _wrk(url)
        figures += [
            Figure(name, rate_of(report), "/s", ">=", RATE),
            Figure(f"{name}, share of the bare server's rate", rate_of(report) / bare),
            Figure(f"{name}, p99", p99_of(report), "ms"),
            Figure(f"{name}, answers that are no 2xx, or none", failures_of(report), "", "<=", 0),
        ]
    return figures


def ensure_wrk(progress: Progress) -> None:
    if which("wrk"):
        return
    if os.geteuid() != 0 or not which("apt-get"):
        raise ClusterError("wrk is not on the PATH, and only root on Debian can have it installed: apt-get install wrk")
    ensure_packages(progress, {"wrk": "wrk"})


async def _wrk(url: str) -> str:
    command = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url)
    environment = {**os.environ, "PATH": search_path()}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        report, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"wrk failed: {report.decode()}")
    return report.decode()


def rate_of(report: str) -> float:
    """Answers a second."""
    return float(_found(r"Requests/sec:\s+([\d.]+)", report)[1])


def p99_of(report: str) -> float:
    """Milliseconds."""
    found = _found(r"^\s+99%\s+([\d.]+)(us|ms|s|m)$", report)
    return float(found[1]) * UNITS[found[2]]


def failures_of(report: str) -> int:
    """Answers other than 2xx and 3xx, and connections that broke; wrk says nothing of them when there are none."""
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    return sum(int(count) for found in (refused, broken) if found for count in found.groups())


def _found(pattern: str, report: str) -> re.Match[str]:
    found = re.search(pattern, report, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk's report has no {pattern}:\n{report}")
    return found


@asynccontextmanager
async def _bare_server(body: bytes) -> AsyncIterator[str]:
    """What one aiohttp process can do at most: one route, no middleware."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/stacks/{stack_id}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/stacks/0"
    finally:
        await runner.cleanup()
